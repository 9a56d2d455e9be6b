//! The tarball: everything in one folder, with the script that installs it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{
    Product, VERSION, documents, pages,
    tree::{FILE, PROGRAM, Tree},
};
use crate::host;

pub(super) fn make(product: &Product, work: &Path) -> Result<PathBuf> {
    let name = format!("m8refsvr-agent-{VERSION}");
    let tree = Tree::new(&work.join(&name), product.time())?;
    tree.put(&product.agent, "m8refsvr-agent", PROGRAM)?;
    tree.put(&Product::packaging("install-m8refsvr-agent.sh"), "install-m8refsvr-agent.sh", PROGRAM)?;
    for file in ["m8refsvr-agent.service", "m8refsvr-agent.user.service", "agent.env"] {
        tree.put(&Product::packaging(file), file, FILE)?;
    }
    tree.put(&host::root().join("LICENSE"), "LICENSE", FILE)?;
    documents::install(&tree, "")?;
    for (name, path) in pages::manuals(&product.pages)? {
        tree.put(&path, &format!("man/{name}"), FILE)?;
    }
    for file in ["m8refsvr-agent.bash", "_m8refsvr-agent", "m8refsvr-agent.fish"] {
        tree.put(&product.pages.join(file), &format!("completions/{file}"), FILE)?;
    }
    tree.settle()?;
    let archive = product.dist.join(format!("{name}-x86_64-linux.tar.gz"));
    host::run(
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
