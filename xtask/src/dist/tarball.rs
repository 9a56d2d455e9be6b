//! The tarball: one folder with all files and the script that installs them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{
    documents, pages,
    product::{Product, VERSION},
    tree::{FILE, PROGRAM, Tree},
};
use crate::{command, files, paths};

pub(super) fn make(product: &Product, work: &Path) -> Result<PathBuf> {
    let name = format!("m8refsvr-agent-{VERSION}");
    let tree = Tree::new(&work.join(&name), product.time())?;
    tree.put(&product.agent, "m8refsvr-agent", PROGRAM)?;
    let script = "install-m8refsvr-agent.sh";
    tree.put(&paths::packaging(script), script, PROGRAM)?;
    for file in ["m8refsvr-agent.service", "m8refsvr-agent.user.service", "agent.env"] {
        tree.put(&paths::packaging(file), file, FILE)?;
    }
    tree.put(&paths::root().join("LICENSE"), "LICENSE", FILE)?;
    documents::install(&tree, "")?;
    for page in pages::manuals(&product.pages)? {
        tree.put(&page, &format!("man/{}", files::name(&page)), FILE)?;
    }
    for file in [pages::BASH, pages::ZSH, pages::FISH] {
        tree.put(&product.pages.join(file), &format!("completions/{file}"), FILE)?;
    }
    tree.finish()?;
    let archive = product.dist.join(format!("{name}-x86_64-linux.tar.gz"));
    command::run(
        product
            .command("tar")
            .args(["--create", "--sort=name", "--format=gnu", "--owner=root:0", "--group=root:0"])
            .args(["--use-compress-program", "gzip --best --no-name", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(work)
            .arg(&name),
    )?;
    Ok(archive)
}
