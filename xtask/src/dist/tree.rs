//! A folder to be packaged: each file has a fixed mode and time, whatever this machine's umask and clock are.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context as _, Result};

use crate::{command, files};

/// The mode of programs and folders.
pub(super) const PROGRAM: u32 = 0o755;
/// The mode of other files.
pub(super) const FILE: u32 = 0o644;

#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    time: SystemTime,
}

impl Tree {
    /// An empty tree.
    pub(super) fn new(root: &Path, time: SystemTime) -> Result<Self> {
        files::create_empty_folder(root)?;
        Ok(Self { root: root.into(), time })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Puts a copy of a file into the tree.
    pub(super) fn put(&self, source: &Path, path: &str, mode: u32) -> Result<()> {
        self.write(&files::read(source)?, path, mode)
    }

    /// Puts a file with this content into the tree.
    pub(super) fn write(&self, content: &[u8], path: &str, mode: u32) -> Result<()> {
        let target = self.root.join(path);
        files::create_folder(target.parent().unwrap_or(&self.root))?;
        files::write(&target, content)?;
        set_mode(&target, mode)
    }

    /// Puts a compressed copy of a file into the tree; `.gz` is appended to its name.
    pub(super) fn put_compressed(&self, source: &Path, path: &str) -> Result<()> {
        self.put(source, path, FILE)?;
        command::run(Command::new("gzip").args(["--best", "--no-name"]).arg(self.root.join(path)))
    }

    /// Sets the time of all files and the mode of all folders. Nothing may be added afterwards.
    pub(super) fn finish(&self) -> Result<()> {
        self.finish_below(&self.root)
    }

    fn finish_below(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            set_mode(path, PROGRAM)?;
            files::entries(path)?.iter().try_for_each(|entry| self.finish_below(entry))?;
        }
        File::open(path)
            .and_then(|file| file.set_modified(self.time))
            .with_context(|| format!("cannot set the time of {}", path.display()))
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}
