//! `/proc/PID/io`: what a process moved to and from storage. Its keys are the names of the fields of
//! [`StorageIo`], so that the kernel's side and this one have the same values.

pub use m8refsvr_common::accounting::IoAccounting as StorageIo;
use rustix::fs::{Dir, Mode, OFlags, openat};

use super::{Process, Unreadable, number, stat::Stat};

/// Reads what the living and the ended threads of a process had.
pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<StorageIo, Unreadable> {
    process.read_io(buffer)?;
    parse(buffer).ok_or(Unreadable::Unknown)
}

/// Adds up what the living threads had, and nothing that the kernel added to the process when its children had
/// ended. A first thread that has ended before the others is left out.
pub fn read_threads(process: &Process, buffer: &mut Vec<u8>) -> Result<StorageIo, Unreadable> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tasks = openat(&process.folder, "task", flags, Mode::empty())?;
    let stat = Stat::read(process, buffer)?;
    let mut sum = StorageIo::default();
    for entry in Dir::new(tasks)? {
        let entry = entry?;
        let Some(thread) = number(entry.file_name().to_bytes()) else { continue };
        if stat.has_no_leader() && thread == u64::from(process.pid) {
            continue;
        }
        match process.read(&format!("task/{thread}/io"), usize::MAX, buffer) {
            Ok(()) => sum = sum.plus(parse(buffer).ok_or(Unreadable::Unknown)?),
            // It has ended meanwhile.
            Err(Unreadable::Gone) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

/// Takes the lines apart; `None` where one of the keys is missing.
pub fn parse(text: &[u8]) -> Option<StorageIo> {
    let value = |name: &'static str| {
        let line = text
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b": "))?;
        number(line)
    };
    StorageIo::NAMES.map(value).complete()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_not_the_cancelled_ones() {
        let text = b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\n\
                     cancelled_write_bytes: 7\n";
        let io = parse(text).unwrap();
        assert_eq!((io.read_bytes, io.write_bytes), (4096, 8192));
    }

    #[test]
    fn what_is_cut_off_or_no_number_is_not_understood() {
        for text in
            ["", "read_bytes: 1\n", "read_bytes: 1\nwrite_bytes: -1\n", "read_bytes: 1\nwrite_bytes:2\n"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
