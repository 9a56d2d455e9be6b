//! `/proc/PID/io`: what a process moved to and from storage.

use rustix::fs::{Dir, Mode, OFlags, openat};

use super::{Process, Unreadable, number, stat::Stat};

/// Bytes that a process caused to be moved, of living and ended threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageIo {
    /// Bytes fetched from storage for it.
    pub read_bytes: u64,
    /// Bytes of pages that it made dirty, whether they reach the storage or not. `cancelled_write_bytes`, what
    /// was deleted before it got there, is another fact and belongs to whoever deletes.
    pub write_bytes: u64,
}

impl StorageIo {
    /// Reads it.
    pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read_io(buffer)?;
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// Adds up what the living threads had, and nothing that the kernel added to the process when its children had
    /// ended. A first thread that has ended before the others is left out.
    pub fn read_threads(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tasks = openat(&process.folder, "task", flags, Mode::empty())?;
        let stat = Stat::read(process, buffer)?;
        let mut sum = Self { read_bytes: 0, write_bytes: 0 };
        for entry in Dir::new(tasks)? {
            let entry = entry?;
            let Some(thread) = number(entry.file_name().to_bytes()) else { continue };
            if stat.has_no_leader() && thread == u64::from(process.pid) {
                continue;
            }
            match process.read(&format!("task/{thread}/io"), usize::MAX, buffer) {
                Ok(()) => {
                    let io = Self::parse(buffer).ok_or(Unreadable::Unknown)?;
                    sum.read_bytes += io.read_bytes;
                    sum.write_bytes += io.write_bytes;
                }
                // It has ended meanwhile.
                Err(Unreadable::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }

    /// Takes the lines apart.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let value = |name: &[u8]| {
            let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name))?;
            number(line.strip_prefix(b": ")?)
        };
        Some(Self { read_bytes: value(b"read_bytes")?, write_bytes: value(b"write_bytes")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_not_the_cancelled_ones() {
        let text = b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\n\
                     cancelled_write_bytes: 7\n";
        assert_eq!(StorageIo::parse(text), Some(StorageIo { read_bytes: 4096, write_bytes: 8192 }));
    }

    #[test]
    fn what_is_cut_off_or_no_number_is_not_understood() {
        for text in
            ["", "read_bytes: 1\n", "read_bytes: 1\nwrite_bytes: -1\n", "read_bytes: 1\nwrite_bytes:2\n"]
        {
            assert_eq!(StorageIo::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
