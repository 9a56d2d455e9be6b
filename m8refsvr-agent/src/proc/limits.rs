//! `/proc/PID/limits` and the user whom one of the limits counts by: how much the kernel lets a process have.
//!
//! Any user may read both files of any process that it sees.

use super::{Process, Unreadable, number};

/// A limit that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// There is none: `RLIM_INFINITY`.
    Unlimited,
    /// So many.
    Of(u64),
}

impl Limit {
    /// Which part of it is used, as [`ratio`] tells; `None` where there is no limit.
    pub fn ratio(self, used: u64) -> Option<f64> {
        match self {
            Self::Unlimited => None,
            Self::Of(limit) => Some(ratio(used, limit)),
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        if text == b"unlimited" { Some(Self::Unlimited) } else { number(text).map(Self::Of) }
    }
}

/// Which part of a limit is used: 1 when nothing more can be had. It is more where the limit was lowered below what
/// was in use already. A limit of 0 is used up, whatever is in use.
pub fn ratio(used: u64, limit: u64) -> f64 {
    if limit == 0 { 1.0 } else { float(used) / float(limit) }
}

/// The soft limits of a process that it can run into while it works. The layout is that of `proc_pid_limits` in
/// `fs/proc/base.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_NOFILE`: file descriptors of the process. To the letter it bounds their numbers, of which the kernel
    /// gives out the smallest that is free.
    pub open_files: Limit,
    /// `RLIMIT_NPROC`: threads of all processes of the same real user, see [`real_user`].
    pub processes: Limit,
}

impl Limits {
    /// Reads them. They are the same for all threads, and there as long as the process is, even if its first
    /// thread has ended.
    pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read("limits", usize::MAX, buffer)?;
        // The kernel writes nothing of a process that ends just now.
        if buffer.is_empty() {
            return Err(Unreadable::Gone);
        }
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// Takes the lines apart.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let soft = |name: &[u8]| {
            let mut columns = columns(text, name)?;
            let soft = Limit::parse(columns.next()?)?;
            Limit::parse(columns.next()?)?;
            Some(soft)
        };
        Some(Self { open_files: soft(b"Max open files ")?, processes: soft(b"Max processes ")? })
    }
}

/// The real user id of a process, as seen in the agent's user namespace: the first number of the line `Uid` in
/// `/proc/PID/status` (`task_state` in `fs/proc/array.c`).
///
/// The owner of the folder, which costs less, is the effective user, and root where the process must not be dumped.
/// The kernel writes the whole file whatever is read of it.
pub fn real_user(process: &Process, buffer: &mut Vec<u8>) -> Result<u32, Unreadable> {
    process.read("status", usize::MAX, buffer)?;
    parse_real_user(buffer).ok_or(Unreadable::Unknown)
}

/// The real user id in a status file. Lines before it hold a name, in which the kernel escapes newlines.
pub fn parse_real_user(status: &[u8]) -> Option<u32> {
    u32::try_from(number(columns(status, b"Uid:\t")?.next()?)?).ok()
}

/// The columns of the first line that begins with `name`. A line without its end is no line: what was cut off
/// might be the last digits of a number.
fn columns<'a>(text: &'a [u8], name: &[u8]) -> Option<impl Iterator<Item = &'a [u8]>> {
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let line = lines.find_map(|line| line.strip_suffix(b"\n")?.strip_prefix(name))?;
    Some(line.split(u8::is_ascii_whitespace).filter(|column| !column.is_empty()))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is wanted, not the last digit")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::process::{Resource, getrlimit, getuid};

    use super::*;
    use crate::proc::Proc;

    const TEXT: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max core file size        0                    unlimited            bytes     
Max processes             96364                unlimited            processes 
Max open files            1024                 524288               files     
Max locked memory         8388608              8388608              bytes     
Max nice priority         0                    0                    
";

    fn process_with(name: &str, text: &str) -> (tempfile::TempDir, Process) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("7")).unwrap();
        fs::write(root.path().join("7").join(name), text).unwrap();
        let process = Proc::new(root.path()).process(7).unwrap();
        (root, process)
    }

    #[test]
    fn the_soft_limits_are_read_and_not_the_hard_ones() {
        let (_root, process) = process_with("limits", TEXT);
        let limits = Limits { open_files: Limit::Of(1024), processes: Limit::Of(96364) };
        assert_eq!(Limits::read(&process, &mut Vec::new()), Ok(limits));
    }

    #[test]
    fn no_limit_is_not_an_unknown_one() {
        let text = TEXT.replace("96364    ", "unlimited");
        let limits = Limits { open_files: Limit::Of(1024), processes: Limit::Unlimited };
        assert_eq!(Limits::parse(text.as_bytes()), Some(limits));
        let text = TEXT.replace("Max processes", "Max something");
        assert_eq!(Limits::parse(text.as_bytes()), None);
    }

    #[test]
    fn limits_cut_off_anywhere_before_the_end_of_the_last_one_are_not_understood() {
        let needed = TEXT.find("Max locked").unwrap();
        for cut in 0..needed {
            assert_eq!(Limits::parse(&TEXT.as_bytes()[..cut]), None, "{cut}");
        }
        assert!(Limits::parse(&TEXT.as_bytes()[..needed]).is_some());
    }

    #[test]
    fn what_is_no_limit_is_not_understood() {
        for soft in ["-1", "+1", "1k", "Unlimited", "", "18446744073709551616", "\u{661}"] {
            let text = TEXT
                .replace("1024 ", &format!("{soft} "))
                .replace("524288", if soft.is_empty() { "" } else { "1" });
            assert_eq!(Limits::parse(text.as_bytes()), None, "{soft}");
        }
        let (_root, process) = process_with("limits", "\u{0}nonsense");
        assert_eq!(Limits::read(&process, &mut Vec::new()), Err(Unreadable::Unknown));
    }

    #[test]
    fn a_process_of_which_the_kernel_writes_nothing_is_gone() {
        let (_root, process) = process_with("limits", "");
        assert_eq!(Limits::read(&process, &mut Vec::new()), Err(Unreadable::Gone));
    }

    #[test]
    fn the_first_user_of_the_line_is_the_real_one() {
        let text = "Name:\tx\\nUid:\t1\nUmask:\t0022\nUid:\t1000\t0\t2\t3\nGid:\t4\t4\t4\t4\n";
        let (_root, process) = process_with("status", text);
        assert_eq!(real_user(&process, &mut Vec::new()), Ok(1000));
    }

    #[test]
    fn a_user_that_is_cut_off_or_no_number_is_not_understood() {
        for text in
            ["", "Uid:\t100", "Uid:\t\n", "Uid:\t-1\t0\t0\t0\n", "Uid:\t4294967296\t0\t0\t0\n", "Gid:\t1\n"]
        {
            let (_root, process) = process_with("status", text);
            assert_eq!(real_user(&process, &mut Vec::new()), Err(Unreadable::Unknown), "{text:?}");
        }
    }

    #[test]
    fn a_limit_of_0_is_used_up_and_no_limit_has_no_ratio() {
        assert_eq!(Limit::Of(1024).ratio(256), Some(0.25));
        assert_eq!(Limit::Of(4).ratio(6), Some(1.5));
        assert_eq!([Limit::Of(0).ratio(0), Limit::Of(0).ratio(u64::MAX)], [Some(1.0); 2]);
        assert_eq!(Limit::Unlimited.ratio(256), None);
    }

    #[test]
    fn the_own_limits_and_user_are_what_the_system_calls_tell() {
        let process = Proc::new("/proc").process(std::process::id()).unwrap();
        let told = |resource| getrlimit(resource).current.map_or(Limit::Unlimited, Limit::Of);
        let limits = Limits { open_files: told(Resource::Nofile), processes: told(Resource::Nproc) };
        assert_eq!(Limits::read(&process, &mut Vec::new()), Ok(limits));
        assert_eq!(real_user(&process, &mut Vec::new()), Ok(getuid().as_raw()));
    }
}
