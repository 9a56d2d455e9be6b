//! Programs from crates.io that the commands call: of a fixed version, built once into the cache.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{command, files, paths, report};

/// A program with its default features.
pub(crate) fn install(name: &str, version: &str) -> Result<PathBuf> {
    install_into(&format!("{name}-{version}"), name, version, |command| command)
}

/// Builds a program, unless it is in this folder of the cache and runs. `adapt` adds options to `cargo install`; the
/// folder's name has to name them too.
pub(crate) fn install_into(
    folder: &str,
    name: &str,
    version: &str,
    adapt: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<PathBuf> {
    let folder = paths::cache()?.join(folder);
    let program = folder.join("bin").join(name);
    if command::runs(&program, "--version") {
        return Ok(program);
    }
    report::step(&format!("building {name} {version} into {} (minutes, once)", folder.display()));
    let scratch = folder.join("build");
    let mut install =
        command::cargo(&["install", "--quiet", "--force", "--locked", name, "--version", version]);
    install.arg("--root").arg(&folder).env("CARGO_TARGET_DIR", &scratch);
    command::run(adapt(&mut install))?;
    files::remove_folder(&scratch)?;
    if !command::runs(&program, "--version") {
        bail!("{} was built but does not run", program.display());
    }
    Ok(program)
}
