//! Other tools with which the agent is compared: Debian's packages, unpacked in the cache.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::deps::{apt, unpacked};

/// The root folder of a package, which is unpacked if the cache lacks it.
pub(super) fn package(name: &str) -> Result<PathBuf> {
    unpacked::packages(&format!("peers/{name}"), &[name])
}

/// A program of a package, with the libraries of the package.
pub(super) fn program(package: &Path, program: &str) -> Command {
    let mut command = Command::new(package.join(program));
    command.env("LD_LIBRARY_PATH", package.join(apt::LIBRARIES));
    command
}

/// The same libraries as an argument of `env`.
pub(super) fn libraries(package: &Path) -> String {
    format!("LD_LIBRARY_PATH={}", package.join(apt::LIBRARIES).display())
}
