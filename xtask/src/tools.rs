//! Programs from crates.io that the developer's commands call: of a fixed version, built once into the cache.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::host;

/// Builds a program, unless it is there and runs. `folder` tells in the cache what was built; `change` adds what this
/// program needs.
pub(crate) fn built(
    name: &str,
    version: &str,
    folder: &str,
    change: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<PathBuf> {
    let folder = host::cache()?.join(folder);
    let program = folder.join("bin").join(name);
    if host::runs(&program, "--version") {
        return Ok(program);
    }
    host::step(&format!("building {name} {version} into {} (minutes, once)", folder.display()));
    let scratch = folder.join("build");
    let mut command = host::cargo(&["install", "--quiet", "--force", "--locked", name, "--version", version]);
    command.arg("--root").arg(&folder).env("CARGO_TARGET_DIR", &scratch);
    host::run(change(&mut command))?;
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    if !host::runs(&program, "--version") {
        bail!("{} was built but does not run", program.display());
    }
    Ok(program)
}
