//! What others wrote and tests need, made once in the cache: whole or not at all.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::host;

/// Debian's own.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Makes a folder: `how` works in a scratch folder beside it, and returns what is to take its name.
pub(crate) fn make(folder: &Path, how: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<()> {
    host::step(&format!("installing {} (once)", folder.display()));
    let scratch = folder.with_added_extension("partial");
    remove(&scratch)?;
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let made = how(&scratch)?;
    remove(folder)?;
    fs::rename(&made, folder).with_context(|| format!("cannot make {}", folder.display()))?;
    remove(&scratch)
}

/// Makes a folder with packages of Python's index in it; needs Debian's python3-venv.
pub(crate) fn pip(folder: &Path, wanted: &[String], options: &[&str]) -> Result<()> {
    make(folder, |scratch| {
        let venv = scratch.join("venv");
        host::run(Command::new(PYTHON).args(["-m", "venv"]).arg(&venv))?;
        let packages = scratch.join("packages");
        // Beside the environment, which does not work under another name.
        host::run(
            Command::new(venv.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--only-binary", ":all:", "--target"])
                .arg(&packages)
                .args(options)
                .args(wanted),
        )?;
        Ok(packages)
    })
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
