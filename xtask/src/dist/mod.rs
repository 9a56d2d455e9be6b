//! `cargo xtask dist`: makes the packages that users install, in `target/dist`. All files have the time of the last
//! commit and belong to root, so that the same sources and tools make the same bytes.

mod deb;
mod documents;
mod elf;
mod pages;
mod product;
mod rpm;
mod tarball;
mod tree;

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};
use product::Product;

use crate::{
    build, command,
    deps::{apt, zig::Zig},
    files, paths, report,
};

/// The programs that make the packages, and Debian's packages of them.
const TOOLS: [(&str, &str); 3] = [("readelf", "binutils"), ("dpkg-deb", "dpkg"), ("rpmbuild", "rpm")];

/// Makes all packages; returns their folder.
pub(crate) fn dist() -> Result<PathBuf> {
    if !command::has_program("apt-get") {
        bail!("packages are made on a Debian, or in a container with one: the tools come from its archive");
    }
    apt::install_programs(&TOOLS)?;
    let agent = build::agent_for_glibc(&Zig::install()?, elf::GLIBC)?;
    let glibc = elf::check(&agent)?;
    let dist = paths::target().join("dist");
    files::create_empty_folder(&dist)?;
    let work = dist.join("work");
    let pages = pages::make(&work.join("pages"))?;
    let product = Product { agent, glibc, pages, epoch: epoch()?, dist };
    let packages = [
        tarball::make(&product, &work.join("tarball"))?,
        deb::make(&product, &work.join("deb"))?,
        rpm::make(&product, &work.join("rpm"))?,
    ];
    files::remove_folder(&work)?;
    for package in packages {
        report::step(&format!("made {}", package.display()));
    }
    Ok(product.dist)
}

/// `SOURCE_DATE_EPOCH`, or else the time of the last commit, in seconds since 1970.
fn epoch() -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let mut git = Command::new("git");
            // The checkout may belong to another user than the one who makes the packages.
            git.args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"]).current_dir(paths::root());
            command::output(&mut git)
                .context("there is no git checkout: set SOURCE_DATE_EPOCH to the time of the files")?
        }
    };
    text.trim().parse().with_context(|| format!("the time of the files must be in seconds, not {text:?}"))
}
