//! A process by a descriptor of its folder in /proc, and its files that stay open from one collection to the next.

use std::os::fd::OwnedFd;

use rustix::{
    buffer::spare_capacity,
    fs::{AtFlags, Dir, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
    io::{Errno, pread},
};

use super::{text::number, unreadable::Unreadable};

/// Bytes of one read. Most files here are smaller; hostile names and command lines can make them longer.
const CHUNK: usize = 4096;

/// A process by a descriptor of its folder. Another process that gets the same id later has another folder.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    folder: OwnedFd,
    kept: Option<KeptFiles>,
}

/// The files that every collection reads. To read an open file takes a fraction of the time of opening it too.
#[derive(Debug)]
struct KeptFiles {
    statm: OwnedFd,
    fd: OwnedFd,
    task: OwnedFd,
    /// `None` while the process is idle.
    active: Option<ActiveFiles>,
}

/// The files that are only read of a process that has run since the last collection.
#[derive(Debug)]
struct ActiveFiles {
    stat: OwnedFd,
    /// `None` where the kernel has no such file, or the agent lacks the permission.
    io: Option<OwnedFd>,
}

impl Process {
    /// Descriptors of an active process whose files are kept open, its folder included.
    pub const KEPT_DESCRIPTORS: usize = 4 + Self::ACTIVE_DESCRIPTORS;
    /// Those of them that are closed while the process is idle.
    pub const ACTIVE_DESCRIPTORS: usize = 2;

    pub(super) fn new(pid: u32, folder: OwnedFd) -> Self {
        Self { pid, folder, kept: None }
    }

    /// Its id (tgid).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Keeps open the files that collections read. Once the process has exited they report that, whoever has its id by
    /// then.
    pub fn keep(&mut self) -> Result<(), Unreadable> {
        let statm = self.open("statm", OFlags::RDONLY)?;
        let [fd, task] = [self.open("fd", OFlags::PATH)?, self.open("task", OFlags::PATH)?];
        self.kept = Some(KeptFiles { statm, fd, task, active: Some(self.open_active()?) });
        Ok(())
    }

    /// Whether files of it are kept open.
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Closes the kept files that are only read of an active process: the kernel holds a page for each.
    pub fn set_idle(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.active = None;
        }
    }

    /// Opens those files again. Where that fails, each read opens its file, and returns the error.
    pub fn set_active(&mut self) {
        if self.is_idle() {
            let active = self.open_active().ok();
            if let Some(kept) = &mut self.kept {
                kept.active = active;
            }
        }
    }

    /// Whether files of it are kept open, but only those that are also read of an idle process.
    pub fn is_idle(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.active.is_none())
    }

    /// How many descriptors of it are open.
    pub fn kept_descriptors(&self) -> usize {
        match &self.kept {
            Some(KeptFiles { active: Some(_), .. }) => Self::KEPT_DESCRIPTORS,
            Some(_) => Self::KEPT_DESCRIPTORS - Self::ACTIVE_DESCRIPTORS,
            None => 1,
        }
    }

    /// The number of its threads, as in `stat`: without threads that were reaped.
    pub fn threads(&self) -> Result<u64, Unreadable> {
        let folder = match &self.kept {
            Some(kept) => fstat(&kept.task)?,
            None => statat(&self.folder, "task", AtFlags::empty())?,
        };
        // The link count of a folder is the number of its subfolders and 2.
        folder.st_nlink.checked_sub(2).ok_or(Unreadable::Unknown)
    }

    pub(super) fn read_stat(&self, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
        match self.kept.as_ref().and_then(|kept| kept.active.as_ref()) {
            Some(active) => read_at_once(&active.stat, buffer),
            None => self.read("stat", usize::MAX, buffer),
        }
    }

    pub(super) fn read_statm(&self, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
        match &self.kept {
            Some(kept) => read_at_once(&kept.statm, buffer),
            None => self.read("statm", usize::MAX, buffer),
        }
    }

    pub(super) fn read_io(&self, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
        match self.kept.as_ref().and_then(|kept| kept.active.as_ref()?.io.as_ref()) {
            Some(io) => read_at_once(io, buffer),
            None => self.read("io", usize::MAX, buffer),
        }
    }

    /// The inode of the folder `fd`.
    pub(super) fn stat_of_fd(&self) -> Result<Stat, Unreadable> {
        Ok(match &self.kept {
            Some(kept) => fstat(&kept.fd)?,
            None => statat(&self.folder, "fd", AtFlags::empty())?,
        })
    }

    /// Reads the link `exe`.
    pub(super) fn read_exe(&self) -> Result<Vec<u8>, Unreadable> {
        Ok(readlinkat(&self.folder, "exe", Vec::new())?.into_bytes())
    }

    /// Whether the executable still has a name in its file system: it was not removed or replaced.
    pub(super) fn exe_has_name(&self) -> bool {
        statat(&self.folder, "exe", AtFlags::empty()).is_ok_and(|file| file.st_nlink > 0)
    }

    /// The numbers that are names in one of its folders: thread ids in `task`, descriptors in `fd`.
    pub(super) fn numbers_in(
        &self,
        folder: &str,
    ) -> Result<impl Iterator<Item = Result<u64, Unreadable>> + use<>, Unreadable> {
        let entries = Dir::new(self.open(folder, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        // The other two entries are `.` and `..`.
        Ok(entries.filter_map(|entry| match entry {
            Ok(entry) => number(entry.file_name().to_bytes()).map(Ok),
            Err(errno) => Some(Err(errno.into())),
        }))
    }

    /// One of its threads, whose files are read as if they were the process's.
    pub(super) fn thread(&self, id: u64) -> Result<Self, Unreadable> {
        let folder = self.open(&format!("task/{id}"), OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Self::new(self.pid, folder))
    }

    /// Reads a file of its folder into `buffer`, to the end or up to `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: usize, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
        buffer.clear();
        let file = self.open(name, OFlags::RDONLY)?;
        // A file of /proc has no size that could be asked for, and one read may return only part of it.
        while buffer.len() < limit {
            let start = buffer.len();
            buffer.resize(limit.min(start + CHUNK), 0);
            match rustix::io::read(&file, &mut buffer[start..]) {
                Ok(0) => {
                    buffer.truncate(start);
                    break;
                }
                Ok(length) => buffer.truncate(start + length),
                Err(Errno::INTR) => buffer.truncate(start),
                Err(errno) => {
                    buffer.clear();
                    return Err(errno.into());
                }
            }
        }
        Ok(())
    }

    fn open_active(&self) -> Result<ActiveFiles, Unreadable> {
        let io = match self.open("io", OFlags::RDONLY) {
            Ok(io) => Some(io),
            Err(Unreadable::Exhausted) => return Err(Unreadable::Exhausted),
            Err(_) => None,
        };
        Ok(ActiveFiles { stat: self.open("stat", OFlags::RDONLY)?, io })
    }

    fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Unreadable> {
        Ok(openat(&self.folder, name, flags | OFlags::CLOEXEC, Mode::empty())?)
    }
}

/// Reads an open file from its start. For files that are shorter than a page, which the kernel returns by one read.
fn read_at_once(file: &OwnedFd, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
    buffer.clear();
    buffer.reserve(CHUNK);
    loop {
        match pread(file, spare_capacity(buffer), 0) {
            Err(Errno::INTR) => {}
            outcome => return outcome.map(|_| ()).map_err(Unreadable::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_file_longer_than_a_chunk_is_read_whole_and_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3 * CHUNK + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
        fs::write(folder.path().join("x"), &content).unwrap();
        let process = Process::new(7, File::open(folder.path()).unwrap().into());
        let mut buffer = vec![1, 2, 3];
        process.read("x", usize::MAX, &mut buffer).unwrap();
        assert_eq!(buffer, content);
        process.read("x", CHUNK + 1, &mut buffer).unwrap();
        assert_eq!(buffer, content[..=CHUNK]);
    }
}
