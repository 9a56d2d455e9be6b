//! The archive that the kernel unpacks into memory at boot, in cpio's format `newc`
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`). Several archives in one file are unpacked one after
//! the other.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::kernels::Module;
use crate::{command, deps::apt, files};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

#[derive(Debug, Default)]
pub(crate) struct Initramfs {
    archive: Vec<u8>,
    /// The paths of all entries.
    paths: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Adds a folder and its parents.
    pub(crate) fn folder(&mut self, path: &Path) -> Result<()> {
        if path.parent().is_none() || self.paths.contains(path) {
            return Ok(());
        }
        self.entry(path, FOLDER, &[])
    }

    /// Adds an executable file.
    pub(crate) fn file(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        self.entry(path, PROGRAM, content)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &Path, to: &Path) -> Result<()> {
        self.entry(path, LINK, to.as_os_str().as_bytes())
    }

    /// Adds a copy of a program and of the libraries that it needs. Files below `root` keep their paths below it.
    pub(crate) fn program(&mut self, path: &Path, from: &Path, root: &Path) -> Result<()> {
        self.copy(path, from)?;
        // Packages that don't know the merged /usr have libraries in /lib too.
        let folders =
            [apt::LIBRARIES.trim_start_matches("usr/"), apt::LIBRARIES].map(|folder| root.join(folder));
        let folders = folders.map(|folder| folder.display().to_string()).join(":");
        let list = command::output(Command::new("ldd").arg(from).env("LD_LIBRARY_PATH", folders))?;
        for line in list.lines() {
            // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)`; the line of the loader has no arrow.
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.ends_with(&["not", "found"]) {
                bail!("{} needs a library that this host lacks: {}", from.display(), line.trim());
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

    /// Adds a static busybox as `/bin/busybox`, and links to it with the names of these programs.
    pub(crate) fn busybox(&mut self, busybox: &Path, programs: &[&str]) -> Result<()> {
        self.copy(Path::new("/bin/busybox"), busybox)?;
        programs.iter().try_for_each(|name| self.link(&Path::new("/bin").join(name), Path::new("busybox")))
    }

    /// Adds kernel modules to `/modules`, and the order in which they are loaded as `/modules/order`.
    pub(crate) fn modules(&mut self, modules: &[Module]) -> Result<()> {
        for Module { file, content } in modules {
            self.file(&Path::new("/modules").join(file), content)?;
        }
        let order: String = modules.iter().map(|module| format!("{}\n", module.file)).collect();
        self.file(Path::new("/modules/order"), order.as_bytes())
    }

    /// Writes the archive.
    pub(crate) fn write(mut self, file: &mut File) -> Result<()> {
        self.header(b"TRAILER!!!", 0, 0)?;
        file.write_all(&self.archive).context("cannot write an initramfs")
    }

    /// Adds a copy of a file of this host.
    pub(crate) fn copy(&mut self, path: &Path, from: &Path) -> Result<()> {
        self.file(path, &files::read(from)?)
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        if let Some(folder) = path.parent() {
            self.folder(folder)?;
        }
        let name = path.strip_prefix("/").with_context(|| format!("{} is not absolute", path.display()))?;
        let size = u32::try_from(content.len()).with_context(|| format!("{} is too big", path.display()))?;
        self.header(name.as_os_str().as_bytes(), mode, size)?;
        self.archive.extend_from_slice(content);
        self.align();
        self.paths.insert(path.to_owned());
        Ok(())
    }

    /// The header of an entry: a magic number, thirteen numbers of eight digits each, and the name with a zero byte.
    fn header(&mut self, name: &[u8], mode: u32, size: u32) -> Result<()> {
        let (inode, name_size) = (u32::try_from(self.paths.len())?, u32::try_from(name.len() + 1)?);
        let (user, group, links, time, checksum) = (0, 0, 1, 0, 0);
        // The four zeros are the device numbers of the file system and of a device file.
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
