//! What a process does with signals, as `/proc/PID/status` shows it.

use rustix::process::Signal;

use super::{Process, Unreadable};

/// Whether the process ignores the ends of its children: the kernel then waits for them itself, and adds nothing of what
/// they had to the process.
pub fn ignores_child_ends(process: &Process, buffer: &mut Vec<u8>) -> Result<bool, Unreadable> {
    process.read("status", usize::MAX, buffer)?;
    parse_ignores_child_ends(buffer).ok_or(Unreadable::Unknown)
}

/// The same of a status file: a mask in hexadecimal digits, the first signal its lowest bit. Lines before it hold a name,
/// in which the kernel escapes newlines.
pub fn parse_ignores_child_ends(status: &[u8]) -> Option<bool> {
    let mut lines = status.split_inclusive(|&byte| byte == b'\n');
    let mask = lines.find_map(|line| line.strip_suffix(b"\n")?.strip_prefix(b"SigIgn:\t"))?;
    let is_mask = mask.len() == 16 && mask.iter().all(u8::is_ascii_hexdigit);
    let mask = u64::from_str_radix(std::str::from_utf8(mask).ok().filter(|_| is_mask)?, 16).ok()?;
    Some(mask >> (Signal::CHILD.as_raw() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Proc;

    #[test]
    fn the_bit_of_one_signal_is_looked_at() {
        let ignores = |mask: &str| {
            parse_ignores_child_ends(format!("Name:\tx\nSigBlk:\t0000000000010000\n{mask}\n").as_bytes())
        };
        assert_eq!(ignores("SigIgn:\t0000000000010000"), Some(true));
        assert_eq!(ignores("SigIgn:\tfffffffffffeffff"), Some(false));
        assert_eq!(ignores("SigIgn:\tFFFFFFFFFFFFFFFF"), Some(true));
        for other in
            ["", "SigIgn:\t", "SigIgn:\t10000", "SigIgn:\t000000000001000g", "SigIgn: 0000000000010000"]
        {
            assert_eq!(ignores(other), None, "{other}");
        }
    }

    #[test]
    fn the_own_process_can_be_read() {
        let process = Proc::new("/proc").process(std::process::id()).unwrap();
        assert_eq!(ignores_child_ends(&process, &mut Vec::new()), Ok(false));
    }
}
