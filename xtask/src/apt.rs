//! Debian's packages of another suite than this machine's: downloaded and unpacked, not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::host;

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Unpacks packages of a suite below `scratch`; returns the folder that is their root.
pub(crate) fn unpack(suite: &str, packages: &[&str], scratch: &Path) -> Result<PathBuf> {
    let lists = scratch.join("state/lists/partial");
    fs::create_dir_all(&lists).with_context(|| format!("cannot make {}", lists.display()))?;
    let keys = if Path::new(KEYS).exists() { format!(" signed-by={KEYS}") } else { String::new() };
    let source = format!("deb [arch=amd64{keys}] {} {suite} main\n", host::archive()?);
    let file = scratch.join("sources.list");
    fs::write(&file, source).with_context(|| format!("cannot write {}", file.display()))?;
    host::run(apt_get(scratch).arg("update"))?;
    host::run(apt_get(scratch).arg("download").args(packages).current_dir(scratch))?;
    let root = scratch.join("root");
    let unreadable = || format!("cannot read {}", scratch.display());
    for file in fs::read_dir(scratch).with_context(unreadable)? {
        let file = file.with_context(unreadable)?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            host::run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&root))?;
        }
    }
    Ok(root)
}

/// apt-get with lists of its own, so that the machine's stay what they are.
fn apt_get(folder: &Path) -> Command {
    let mut command = host::apt();
    let option = |name: &str, path: &str| format!("{name}={}/{path}", folder.display());
    command
        .args(["-o", "APT::Sandbox::User=root"])
        .args(["-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::State::status=/dev/null"])
        .args(["-o", &option("Dir::Etc::sourcelist", "sources.list")])
        .args(["-o", &option("Dir::State", "state"), "-o", &option("Dir::Cache", "cache")]);
    command
}
