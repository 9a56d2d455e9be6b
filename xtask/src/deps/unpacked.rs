//! Debian's packages, unpacked in the cache instead of installed: the installation of some would start a service, now
//! and at each boot.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{apt, cache};
use crate::{command, paths};

/// The root folder of unpacked packages, at this path below the cache.
pub(crate) fn packages(folder: &str, packages: &[&str]) -> Result<PathBuf> {
    let root = paths::cache()?.join(folder);
    if !root.is_dir() {
        cache::make(&root, |scratch| apt::unpack(packages, scratch))?;
    }
    Ok(root)
}

/// A program of an unpacked package. `version` is an argument with which the program succeeds at once.
pub(crate) fn program(folder: &str, package: &str, path: &str, version: &str) -> Result<PathBuf> {
    let root = paths::cache()?.join(folder);
    let program = root.join(path);
    if command::runs(&program, version) {
        return Ok(program);
    }
    cache::make(&root, |scratch| apt::unpack(&[package], scratch))?;
    if !command::runs(&program, version) {
        bail!("{} lacks libraries; install the whole package: apt-get install {package}", program.display());
    }
    Ok(program)
}
