//! Disk images for the virtual machines.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{command, files};

/// Creates a sparse file of this size.
pub(crate) fn create(path: &Path, bytes: u64) -> Result<()> {
    files::create(path)?.set_len(bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Creates an empty ext4 file system in a file.
pub(crate) fn format(path: &Path) -> Result<()> {
    command::run(mke2fs().arg(path).stdout(Stdio::null()))
}

/// Creates a file with an ext4 file system that has the files of a folder.
pub(crate) fn from_folder(folder: &Path, path: &Path, mib: u64) -> Result<()> {
    command::run(mke2fs().arg("-d").arg(folder).arg(path).arg(format!("{mib}M")))
}

fn mke2fs() -> Command {
    // An ordinary user's PATH has no folder of root's programs, and sudo may keep that PATH.
    let mut command = Command::new("/sbin/mke2fs");
    command.args(["-q", "-F", "-t", "ext4"]);
    command
}
