//! Where things are: the checkout, the folders of cargo, and the cache of what is downloaded or built once.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// A file or folder in `packaging/`.
pub(crate) fn packaging(name: &str) -> PathBuf {
    root().join("packaging").join(name)
}

/// The target folder of cargo. Each command of xtask writes into a folder of its own below it.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The folder into which cargo downloads crates.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

/// The cache of xtask. It is outside the checkout, so that a clean checkout can use it.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("there is no folder for a cache: set XDG_CACHE_HOME or HOME")?;
    Ok(base.join("m8refsvr"))
}
