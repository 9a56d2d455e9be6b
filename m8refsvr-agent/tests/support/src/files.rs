//! The files of a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// All files in a folder and in those below it.
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
