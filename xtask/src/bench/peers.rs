//! What others wrote and ours is compared with: Debian's packages, unpacked in the cache and not installed, so that
//! nothing of them is started by itself.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{host, keep};

/// Where the libraries of a package are below its root.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The root of a package of Debian's; makes sure that it is there.
pub(super) fn package(name: &str) -> Result<PathBuf> {
    let home = host::cache()?.join("peers").join(name);
    if !home.is_dir() {
        keep::make(&home, |scratch| host::unpack(&[name], scratch))?;
    }
    Ok(home)
}

/// A program of a package, which finds its libraries beside it.
pub(super) fn program(package: &Path, program: &str) -> Command {
    let mut command = Command::new(package.join(program));
    command.env("LD_LIBRARY_PATH", package.join(LIBRARIES));
    command
}

/// The same for `env`.
pub(super) fn libraries(package: &Path) -> String {
    format!("LD_LIBRARY_PATH={}", package.join(LIBRARIES).display())
}
