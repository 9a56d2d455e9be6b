//! What /proc knows of processes: the only room that reads it. Its root is a parameter, so that a folder of
//! fixtures is a /proc. Knows neither BPF nor what becomes of the figures.
//!
//! What is read of every process at every collection has parsers of its own, which take the bytes apart in place: `stat`,
//! `statm`, `io`, and the threads' `status`, where the kernel does not count for the agent. The procfs crate takes the
//! rest apart: mounts, cgroups, limits, `status`, the machine's memory. It makes strings and maps of a whole file for the
//! few values that are wanted, which costs ten times as much and more (`cargo bench -p m8refsvr-agent --bench parsers`).
//! Where a file is read once, or once a minute, that does not matter.
//!
//! It is handed bytes, and opens nothing itself: it would open by path each time, so that a process can be exchanged
//! between two files. Here a process is held by a descriptor of its folder, and a file is read up to a limit. What procfs
//! can't take is dealt with first: bytes that are not UTF-8, for which it refuses a whole file; a file that was cut off;
//! and text that no kernel writes, at which it panics. What it has no reader for stays here too: `fd`, descriptors of BPF
//! programs, `timens_offsets`, and all of /sys.

mod attributes;
pub mod cgroup;
pub mod container;
pub mod cpu_clock;
pub mod fd;
pub mod identity;
pub mod io;
pub mod limits;
pub mod mount;
pub mod process_attributes;
pub mod program;
pub mod signals;
pub mod stat;
pub mod statm;
pub mod status;
pub mod switches;
pub mod system;

use std::{
    ffi::OsString,
    fs,
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    buffer::spare_capacity,
    fs::{AtFlags, Dir, Mode, OFlags, PROC_SUPER_MAGIC, fstat, openat, statat, statfs},
    io::{Errno, pread},
};
use stat::Stat;

/// Reads up to this many bytes at once; the files read here are smaller, but for hostile ones.
const CHUNK: usize = 4096;

/// Why a figure of a process could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreadable {
    /// The process has ended.
    Gone,
    /// This process has not the right.
    Denied,
    /// This process has no file descriptors or memory left.
    Exhausted,
    /// What stands there is not understood, or the kernel does not offer it.
    Unknown,
}

impl From<Errno> for Unreadable {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::SRCH => Self::Gone,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Self::Exhausted,
            _ => Self::Unknown,
        }
    }
}

/// Whether the kernel's /proc is mounted on this folder.
pub fn is_proc(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|it| it.f_type == PROC_SUPER_MAGIC)
}

/// A /proc.
#[derive(Debug)]
pub struct Proc {
    root: PathBuf,
}

impl Proc {
    /// The one below `root`, usually `/proc`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ids of all processes.
    pub fn pids(&self) -> std::io::Result<Vec<u32>> {
        // Part of a list would look as if the other processes had ended.
        let names = fs::read_dir(&self.root)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<std::io::Result<Vec<_>>>()?;
        let pids = names.iter().filter_map(|name| number(name.as_encoded_bytes()));
        Ok(pids.filter_map(|pid| u32::try_from(pid).ok()).collect())
    }

    /// Whether not even the first process can be seen, as where /proc is mounted with `hidepid` and this process
    /// has not the right to see others.
    pub fn hides_processes(&self) -> bool {
        self.root.join("self").exists() && !self.root.join("1").exists()
    }

    /// Takes hold of a process: what is read through it is of this one, even if it ends and another gets its id.
    pub fn process(&self, pid: u32) -> Result<Process, Unreadable> {
        let folder = self.root.join(pid.to_string());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(rustix::fs::CWD, &folder, flags, Mode::empty())?;
        Ok(Process { pid, folder, kept: None })
    }
}

/// A process, by a descriptor of its folder.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    folder: OwnedFd,
    kept: Option<Kept>,
}

/// Files of a process that every collection reads. To read one that is open takes a fraction of the time that it takes to open
/// it too.
#[derive(Debug)]
struct Kept {
    statm: OwnedFd,
    fd: OwnedFd,
    task: OwnedFd,
    /// `None` while it is at rest.
    busy: Option<Busy>,
}

/// Files that are read of a process that has run.
#[derive(Debug)]
struct Busy {
    stat: OwnedFd,
    /// `None` where the kernel has none, or this process not the right.
    io: Option<OwnedFd>,
}

impl Process {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Descriptors of a process of which files are kept open.
    pub const KEPT_DESCRIPTORS: usize = 4 + Self::BUSY_DESCRIPTORS;
    /// How many of them are of files that are closed while it is at rest.
    pub const BUSY_DESCRIPTORS: usize = 2;

    /// Keeps those files open that looks read. When the process has ended they say so, whoever has its id by then.
    pub fn keep(&mut self) -> Result<(), Unreadable> {
        let statm = self.open("statm", OFlags::RDONLY)?;
        let [fd, task] = [self.open("fd", OFlags::PATH)?, self.open("task", OFlags::PATH)?];
        self.kept = Some(Kept { statm, fd, task, busy: Some(self.busy()?) });
        Ok(())
    }

    /// Closes those of the kept files that are read of a process that has run: the kernel keeps a page for each.
    pub fn rest(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.busy = None;
        }
    }

    /// Opens them again. Where that fails they are opened each time that they are read, which tells why.
    pub fn wake(&mut self) {
        if self.is_resting() {
            let busy = self.busy().ok();
            if let Some(kept) = &mut self.kept {
                kept.busy = busy;
            }
        }
    }

    fn busy(&self) -> Result<Busy, Unreadable> {
        let io = match self.open("io", OFlags::RDONLY) {
            Ok(io) => Some(io),
            Err(Unreadable::Exhausted) => return Err(Unreadable::Exhausted),
            Err(_) => None,
        };
        Ok(Busy { stat: self.open("stat", OFlags::RDONLY)?, io })
    }

    fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Unreadable> {
        Ok(openat(&self.folder, name, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// How many descriptors are open of it.
    pub fn kept_descriptors(&self) -> usize {
        match &self.kept {
            Some(Kept { busy: Some(_), .. }) => Self::KEPT_DESCRIPTORS,
            Some(_) => Self::KEPT_DESCRIPTORS - Self::BUSY_DESCRIPTORS,
            None => 1,
        }
    }

    /// Whether files of it are kept open, but not those that are read of a process that has run.
    pub fn is_resting(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.busy.is_none())
    }

    /// Its threads, as `stat` tells them: without those that were waited for.
    pub fn threads(&self) -> Result<u64, Unreadable> {
        let folder = match &self.kept {
            Some(kept) => fstat(&kept.task)?,
            None => statat(&self.folder, "task", AtFlags::empty())?,
        };
        // A folder has two links more than folders in it.
        folder.st_nlink.checked_sub(2).ok_or(Unreadable::Unknown)
    }

    /// Whether files of it are kept open.
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Reads `stat`.
    fn read_stat(&self, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
        match self.kept.as_ref().and_then(|kept| kept.busy.as_ref()) {
            Some(busy) => read_whole(&busy.stat, buffer),
            None => self.read("stat", usize::MAX, buffer),
        }
    }

    /// Reads `statm`.
    fn read_statm(&self, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
        match &self.kept {
            Some(kept) => read_whole(&kept.statm, buffer),
            None => self.read("statm", usize::MAX, buffer),
        }
    }

    /// Reads `io`.
    fn read_io(&self, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
        match self.kept.as_ref().and_then(|kept| kept.busy.as_ref()?.io.as_ref()) {
            Some(io) => read_whole(io, buffer),
            None => self.read("io", usize::MAX, buffer),
        }
    }

    /// What the kernel says of the folder `fd`.
    fn stat_of_fd(&self) -> Result<rustix::fs::Stat, Unreadable> {
        Ok(match &self.kept {
            Some(kept) => fstat(&kept.fd)?,
            None => statat(&self.folder, "fd", AtFlags::empty())?,
        })
    }

    /// A thread that has not ended, as if it were the process: for one whose first thread has.
    pub fn living_thread(&self, buffer: &mut Vec<u8>) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tasks = openat(&self.folder, "task", flags, Mode::empty()).ok()?;
        let mut entries = Dir::read_from(&tasks).ok()?;
        entries.find_map(|entry| {
            let entry = entry.ok()?;
            number(entry.file_name().to_bytes())?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = openat(&tasks, entry.file_name(), flags, Mode::empty()).ok()?;
            let thread = Self { pid: self.pid, folder, kept: None };
            let stat = Stat::read(&thread, buffer).ok()?;
            (!matches!(stat.state, b'Z' | b'X')).then_some(thread)
        })
    }

    /// Reads a file of its folder to the end, or to `limit` bytes, into `buffer`.
    fn read(&self, name: &str, limit: usize, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
        buffer.clear();
        let file = self.open(name, OFlags::RDONLY)?;
        // A file of /proc has no size before it is read, and may be longer with each piece.
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
}

/// Reads a file that the kernel makes at once, and that is shorter than a page, from its beginning.
fn read_whole(file: &OwnedFd, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
    buffer.clear();
    buffer.reserve(CHUNK);
    loop {
        match pread(file, spare_capacity(buffer), 0) {
            Err(Errno::INTR) => {}
            outcome => return outcome.map(|_| ()).map_err(Unreadable::from),
        }
    }
}

/// A number in ASCII digits, and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    // `parse` would take a sign too.
    std::str::from_utf8(text).ok().filter(|_| text.iter().all(u8::is_ascii_digit))?.parse().ok()
}

/// The number that a field begins with; `None` where it is not all of the field, or where the field has no end.
fn leading_number(text: &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b' ' | b'\n' if at > 0 => return Some(value),
            _ => return None,
        }
    }
    None
}

/// Hands a file to the procfs crate. Bytes that are not UTF-8 are replaced: they stand in names, which nobody asks for
/// here. Without its end a text was cut off, perhaps within a number.
fn parsed<T: procfs::FromBufRead>(text: &[u8]) -> Option<T> {
    if !text.ends_with(b"\n") {
        return None;
    }
    T::from_buf_read(String::from_utf8_lossy(text).as_bytes()).ok()
}

/// A text in which bytes that are not plain are written as mountinfo has it: `\` and three octal digits.
fn escaped(text: &[u8], is_plain: impl Fn(u8) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for &byte in text {
        if is_plain(byte) {
            escaped.push(byte.into());
        } else {
            escaped.push('\\');
            escaped.extend([byte >> 6, byte >> 3 & 7, byte & 7].map(|digit| char::from(b'0' + digit)));
        }
    }
    escaped
}

/// The bytes that stand in such a text.
fn unescaped(text: &str) -> OsString {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match tail {
            [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', tail @ ..] if byte == b'\\' => {
                Some((((high - b'0') << 6) | ((middle - b'0') << 3) | (low - b'0'), tail))
            }
            _ => None,
        };
        let (byte, tail) = escaped.unwrap_or((byte, tail));
        plain.push(byte);
        rest = tail;
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_a_chunk_is_read_whole_and_up_to_the_limit() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("7");
        fs::create_dir(&folder).unwrap();
        let content: Vec<u8> = (0..3 * CHUNK + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
        fs::write(folder.join("x"), &content).unwrap();
        let process = Proc::new(root.path()).process(7).unwrap();
        let mut buffer = vec![1, 2, 3];
        process.read("x", usize::MAX, &mut buffer).unwrap();
        assert_eq!(buffer, content);
        process.read("x", CHUNK + 1, &mut buffer).unwrap();
        assert_eq!(buffer, content[..=CHUNK]);
    }

    #[test]
    fn only_numbers_are_processes() {
        let root = tempfile::tempdir().unwrap();
        for name in ["1", "22", "self", "1a", "-1", "+1", "4294967296"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let mut pids = Proc::new(root.path()).pids().unwrap();
        pids.sort_unstable();
        assert_eq!(pids, [1, 22]);
    }

    #[test]
    fn a_missing_process_is_gone() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Proc::new(root.path()).process(7).unwrap_err(), Unreadable::Gone);
    }

    #[test]
    fn files_that_are_kept_open_say_the_same_until_the_process_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let proc = Proc::new("/proc");
        let mut kept = proc.process(child.id()).unwrap();
        kept.keep().unwrap();
        let mut buffer = Vec::new();
        // Once it has executed its program it is at rest.
        let at_rest = |buffer: &mut Vec<u8>| {
            let stat = Stat::read(&kept, buffer).ok()?;
            let opened = Stat::read(&proc.process(child.id()).unwrap(), buffer).unwrap();
            (stat == opened && stat::comm(buffer) == Some(b"sleep")).then_some(stat)
        };
        let stat = (0..1000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            at_rest(&mut buffer)
        });
        assert!(stat.is_some());
        let opened = proc.process(child.id()).unwrap();
        let io = |process: &Process| io::read(process, &mut Vec::new());
        assert_eq!((io(&kept), fd::count(&kept)), (io(&opened), fd::count(&opened)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Stat::read(&kept, &mut buffer), Err(Unreadable::Gone));
        assert_eq!((io(&kept), fd::count(&kept)), (Err(Unreadable::Gone), Err(Unreadable::Gone)));
    }
}
