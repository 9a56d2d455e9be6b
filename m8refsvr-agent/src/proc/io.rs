//! `/proc/PID/io`: the I/O of a process. Its keys are the names of the fields of [`IoAccounting`], so that the BPF
//! programs and /proc have the same values.

pub use m8refsvr_common::accounting::IoAccounting;

use super::{Process, Unreadable, stat::Stat, text::number};

/// Reads the I/O of a process, by its living and its exited threads.
pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<IoAccounting, Unreadable> {
    process.read_io(buffer)?;
    parse(buffer).ok_or(Unreadable::Unknown)
}

/// Adds up `task/*/io`, and so leaves out what the kernel added to the process when it reaped children. A leader thread
/// that has exited before the others is left out too.
pub fn read_threads(process: &Process, buffer: &mut Vec<u8>) -> Result<IoAccounting, Unreadable> {
    let threads = process.numbers_in("task")?;
    let stat = Stat::read(process, buffer)?;
    let mut sum = IoAccounting::default();
    for thread in threads {
        let thread = thread?;
        if stat.has_no_leader() && thread == u64::from(process.pid()) {
            continue;
        }
        match process.read(&format!("task/{thread}/io"), usize::MAX, buffer) {
            Ok(()) => sum = sum.plus(parse(buffer).ok_or(Unreadable::Unknown)?),
            // It has exited meanwhile.
            Err(Unreadable::Gone) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

/// `None` where a line is missing, has no number, or is out of the kernel's order (`do_io_accounting` in
/// `fs/proc/base.c`), which is that of the fields.
pub fn parse(text: &[u8]) -> Option<IoAccounting> {
    let mut lines = text.split(|&byte| byte == b'\n');
    let mut value_of = |name: &'static str| {
        let rest = lines.find_map(|line| line.strip_prefix(name.as_bytes()))?;
        number(rest.strip_prefix(b": ")?)
    };
    IoAccounting::NAMES.map(&mut value_of).complete()
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
