//! Packages of PyPI, installed by pip into a folder of the cache.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{apt, cache};
use crate::command;

/// Debian's Python.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Installs packages into a folder of the cache.
pub(crate) fn install(folder: &Path, packages: &[String], options: &[&str]) -> Result<()> {
    apt::install(&["python3-venv"])?;
    cache::make(folder, |scratch| {
        let venv = scratch.join("venv");
        command::run(Command::new(PYTHON).args(["-m", "venv"]).arg(&venv))?;
        let installed = scratch.join("packages");
        // Not in the environment itself: that does not work after it was renamed.
        command::run(
            Command::new(venv.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--only-binary", ":all:", "--target"])
                .arg(&installed)
                .args(options)
                .args(packages),
        )?;
        Ok(installed)
    })
}
