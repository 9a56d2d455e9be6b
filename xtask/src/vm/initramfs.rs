//! The file system in memory that a machine starts from: an archive in the form `newc` of cpio, which the kernel unpacks
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`). Several, one after the other, are one.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::host;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that is being made.
#[derive(Debug, Default)]
pub(crate) struct Initramfs {
    archive: Vec<u8>,
    /// What is in it.
    paths: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// A folder, with those that it is in.
    pub(crate) fn folder(&mut self, path: &Path) -> Result<()> {
        if path.parent().is_none() || self.paths.contains(path) {
            return Ok(());
        }
        self.entry(path, FOLDER, &[])
    }

    /// A file that may be executed.
    pub(crate) fn file(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        self.entry(path, PROGRAM, content)
    }

    /// A link to another path.
    pub(crate) fn link(&mut self, path: &Path, to: &Path) -> Result<()> {
        self.entry(path, LINK, to.as_os_str().as_bytes())
    }

    /// A program of this machine with the libraries that it needs. What lies below `root` is the machine's own.
    pub(crate) fn program(&mut self, path: &Path, from: &Path, root: &Path) -> Result<()> {
        self.copy(path, from)?;
        let folders = ["lib", "usr/lib"].map(|folder| root.join(folder).join("x86_64-linux-gnu"));
        let folders = folders.map(|folder| folder.display().to_string()).join(":");
        let list = host::output(Command::new("ldd").arg(from).env("LD_LIBRARY_PATH", folders))?;
        for line in list.lines() {
            // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)`, and the loader without an arrow.
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.ends_with(&["not", "found"]) {
                bail!("{} needs a library that is not here: {}", from.display(), line.trim());
            }
            if let Some(library) = words.iter().find(|word| word.starts_with('/')).map(Path::new) {
                let path =
                    library.strip_prefix(root).map_or(library.to_owned(), |path| Path::new("/").join(path));
                if !self.paths.contains(&path) {
                    self.copy(&path, library)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the archive.
    pub(crate) fn write(mut self, file: &mut fs::File) -> Result<()> {
        self.header(b"TRAILER!!!", 0, 0)?;
        file.write_all(&self.archive).context("cannot write an initramfs")
    }

    /// A file of this machine.
    pub(crate) fn copy(&mut self, path: &Path, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, &content)
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        if let Some(folder) = path.parent() {
            self.folder(folder)?;
        }
        let name = path.strip_prefix("/").with_context(|| format!("{} has no root", path.display()))?;
        let size = u32::try_from(content.len()).with_context(|| format!("{} is too big", path.display()))?;
        self.header(name.as_os_str().as_bytes(), mode, size)?;
        self.archive.extend_from_slice(content);
        self.align();
        self.paths.insert(path.to_owned());
        Ok(())
    }

    /// A magic number, thirteen numbers of eight digits each, and the name with a zero.
    fn header(&mut self, name: &[u8], mode: u32, size: u32) -> Result<()> {
        let (inode, name_size) = (u32::try_from(self.paths.len())?, u32::try_from(name.len() + 1)?);
        let (user, group, links, time, checksum) = (0, 0, 1, 0, 0);
        // Before the size of the name the devices that it is on, and that it is.
        let numbers = [inode, mode, user, group, links, time, size, 0, 0, 0, 0, name_size, checksum];
        let numbers = numbers.map(|number| format!("{number:08x}")).concat();
        for part in [b"070701", numbers.as_bytes(), name, &[0]] {
            self.archive.extend_from_slice(part);
        }
        self.align();
        Ok(())
    }

    fn align(&mut self) {
        self.archive.resize(self.archive.len().next_multiple_of(4), 0);
    }
}
