//! The package for Red Hat Enterprise Linux, Fedora, SUSE and derived distributions.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    product::{Product, VERSION},
    tree::FILE,
};
use crate::{command, paths};

pub(super) fn make(product: &Product, work: &Path) -> Result<PathBuf> {
    let tree = product.tree(&work.join("tree"), "site-functions")?;
    tree.put(&paths::root().join("LICENSE"), "usr/share/licenses/m8refsvr-agent/LICENSE", FILE)?;
    tree.finish()?;

    let name = format!("m8refsvr-agent-{VERSION}-1.x86_64.rpm");
    let mut rpmbuild = product.command("rpmbuild");
    rpmbuild.args(["-bb", "--quiet", "--target", "x86_64-linux"]);
    let folder = work.display();
    let definitions = [
        format!("_topdir {folder}/top"),
        format!("_rpmdir {folder}"),
        format!("_rpmfilename {name}"),
        format!("tree {folder}/tree"),
        format!("agent_version {VERSION}"),
        // The same bytes on every machine and at any time.
        "_buildhost localhost".into(),
        "use_source_date_epoch_as_buildtime 1".into(),
        // Readable since RHEL 6, unlike zstd.
        "_binary_payload w9.xzdio".into(),
        // The tree is complete: nothing is to be stripped, compressed or linked by build id.
        "__os_install_post %{nil}".into(),
        "_build_id_links none".into(),
        "debug_package %{nil}".into(),
    ];
    for definition in definitions {
        rpmbuild.args(["--define", &definition]);
    }
    command::run(rpmbuild.arg(paths::packaging("rpm/m8refsvr-agent.spec")))?;
    let package = product.dist.join(&name);
    let made = work.join(&name);
    fs::rename(&made, &package).with_context(|| format!("rpmbuild did not make {}", made.display()))?;
    Ok(package)
}
