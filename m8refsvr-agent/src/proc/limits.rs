//! `/proc/PID/limits` and the user whom one of the limits counts by: how much the kernel lets a process have.
//!
//! Any user may read both files of any process that it sees. The procfs crate takes them apart.

use procfs::process::{LimitValue, Limits as AllLimits};

use super::{Process, Unreadable, parsed, status};

/// Bytes of `/proc/PID/limits` that are read: ten times what a kernel writes.
const LIMIT: usize = 1 << 14;
/// Each line has a name of two words or more, and two limits.
const FEWEST_WORDS: usize = 4;

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
}

impl From<LimitValue> for Limit {
    fn from(value: LimitValue) -> Self {
        match value {
            LimitValue::Unlimited => Self::Unlimited,
            LimitValue::Value(limit) => Self::Of(limit),
        }
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
        process.read("limits", LIMIT, buffer)?;
        // The kernel writes nothing of a process that ends just now.
        if buffer.is_empty() {
            return Err(Unreadable::Gone);
        }
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// Takes the lines apart.
    pub fn parse(text: &[u8]) -> Option<Self> {
        // procfs counts words from the end of a line, and panics where there are too few; and it takes numbers with a
        // sign.
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        if text.contains(&b'+') || lines.any(|line| line.split_whitespace().nth(FEWEST_WORDS - 1).is_none()) {
            return None;
        }
        let AllLimits { max_open_files, max_processes, .. } = parsed(text)?;
        Some(Self {
            open_files: max_open_files.soft_limit.into(),
            processes: max_processes.soft_limit.into(),
        })
    }
}

/// The real user id of a process, as seen in the agent's user namespace: the first number of the line `Uid` in
/// `/proc/PID/status` (`task_state` in `fs/proc/array.c`).
///
/// The owner of the folder, which costs less, is the effective user, and root where the process must not be dumped.
pub fn real_user(process: &Process, buffer: &mut Vec<u8>) -> Result<u32, Unreadable> {
    status::read(process, buffer).map(|status| status.ruid)
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is wanted, not the last digit")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, getrlimit, getuid};

    use super::{status::fixtures, *};
    use crate::proc::Proc;

    const TEXT: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max file size             unlimited            unlimited            bytes     
Max data size             unlimited            unlimited            bytes     
Max stack size            8388608              unlimited            bytes     
Max core file size        0                    unlimited            bytes     
Max resident set          unlimited            unlimited            bytes     
Max processes             96364                unlimited            processes 
Max open files            1024                 524288               files     
Max locked memory         8388608              8388608              bytes     
Max address space         unlimited            unlimited            bytes     
Max file locks            unlimited            unlimited            locks     
Max pending signals       96364                96364                signals   
Max msgqueue size         819200               819200               bytes     
Max nice priority         0                    0                    
Max realtime priority     0                    0                    
Max realtime timeout      unlimited            unlimited            us        
";

    fn process_with(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, Process) {
        let root = tempfile::tempdir().unwrap();
        let process = fixtures::process_with(root.path(), name, text.as_ref());
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
        for cut in 0..TEXT.len() {
            assert_eq!(Limits::parse(&TEXT.as_bytes()[..cut]), None, "{cut}");
        }
        assert!(Limits::parse(TEXT.as_bytes()).is_some());
    }

    #[test]
    fn what_is_no_limit_is_not_understood() {
        for soft in ["-1", "+1", "1k", "Unlimited", "", "18446744073709551616", "\u{661}"] {
            let text = TEXT
                .replace("1024 ", &format!("{soft} "))
                .replace("524288", if soft.is_empty() { "" } else { "1" });
            assert_eq!(Limits::parse(text.as_bytes()), None, "{soft}");
        }
        for line in ["\n", "\u{b}\n", "x y\n", "\u{a0} \u{a0} x y\n", "Max open files\n"] {
            for text in [format!("{TEXT}{line}"), format!("{line}{TEXT}")] {
                assert_eq!(Limits::parse(text.as_bytes()), None, "{line:?}");
            }
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
        let text = fixtures::status_with("Uid", b"Uid:\t1000\t0\t2\t3\n");
        let text = [b"Name:\tx\\nUid:\t1\n", &text["Name:\tsleep\n".len()..]].concat();
        let (_root, process) = process_with("status", text);
        assert_eq!(real_user(&process, &mut Vec::new()), Ok(1000));
    }

    #[test]
    fn a_user_that_is_cut_off_or_no_number_is_not_understood() {
        for text in
            ["", "Uid:\t100", "Uid:\t\n", "Uid:\t-1\t0\t0\t0\n", "Uid:\t4294967296\t0\t0\t0\n", "Gid:\t1\n"]
        {
            for whole in [text.into(), fixtures::status_with("Uid", text.as_bytes())] {
                let (_root, process) = process_with("status", whole);
                assert_eq!(real_user(&process, &mut Vec::new()), Err(Unreadable::Unknown), "{text:?}");
            }
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
