//! A folder as it is to be packaged: each file with its mode and time, whatever this machine's umask and clock say.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context as _, Result};

use crate::host;

/// The mode of programs and folders.
pub(super) const PROGRAM: u32 = 0o755;
/// The mode of all other files.
pub(super) const FILE: u32 = 0o644;

/// The folder.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    time: SystemTime,
}

impl Tree {
    /// An empty one.
    pub(super) fn new(root: &Path, time: SystemTime) -> Result<Self> {
        super::empty(root)?;
        Ok(Self { root: root.into(), time })
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Puts a copy of a file into it.
    pub(super) fn put(&self, source: &Path, path: &str, mode: u32) -> Result<()> {
        let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.write(&content, path, mode)
    }

    /// Puts a file with this content into it.
    pub(super) fn write(&self, content: &[u8], path: &str, mode: u32) -> Result<()> {
        let target = self.root.join(path);
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&target, content)
            .and_then(|()| fs::set_permissions(&target, Permissions::from_mode(mode)))
            .with_context(|| format!("cannot write {}", target.display()))
    }

    /// Puts a compressed copy of a file into it, under the name with `.gz` at its end.
    pub(super) fn put_compressed(&self, source: &Path, path: &str) -> Result<()> {
        self.put(source, path, FILE)?;
        host::run(Command::new("gzip").args(["--best", "--no-name"]).arg(self.root.join(path)))
    }

    /// Gives everything its time, and all folders their mode: the last thing to do before it is packaged.
    pub(super) fn settle(&self) -> Result<()> {
        self.settle_below(&self.root)
    }

    fn settle_below(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            fs::set_permissions(path, Permissions::from_mode(PROGRAM))
                .with_context(|| format!("cannot change {}", path.display()))?;
            for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
                self.settle_below(&entry?.path())?;
            }
        }
        File::open(path)
            .and_then(|file| file.set_modified(self.time))
            .with_context(|| format!("cannot change {}", path.display()))
    }
}
