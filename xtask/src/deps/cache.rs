//! Folders of the cache: each is made once, and is there either as a whole or not at all.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{files, report};

/// Makes a folder. `fill` gets a scratch folder beside it, and returns the folder that is then renamed.
pub(crate) fn make(folder: &Path, fill: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<()> {
    report::step(&format!("installing {} (once)", folder.display()));
    let scratch = folder.with_added_extension("partial");
    files::create_empty_folder(&scratch)?;
    let filled = fill(&scratch)?;
    files::remove_folder(folder)?;
    fs::rename(&filled, folder).with_context(|| format!("cannot create {}", folder.display()))?;
    files::remove_folder(&scratch)
}
