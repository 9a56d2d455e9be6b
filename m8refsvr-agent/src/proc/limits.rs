//! `/proc/PID/limits`: the resource limits of a process. Any user may read the file of any process that they see. The
//! procfs crate parses it.

use procfs::process::{LimitValue, Limits as AllLimits};

use super::{Process, Unreadable, text::parse_by_procfs};

/// Bytes that are read: ten times what a kernel writes.
const LIMIT: usize = 1 << 14;
/// Words of a line: a name of at least two, and two limits.
const FEWEST_WORDS: usize = 4;

/// A limit that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `RLIM_INFINITY`.
    Unlimited,
    /// This number.
    Of(u64),
}

impl Limit {
    /// The used part of the limit, by [`ratio`]; `None` where there is no limit.
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

/// The used part of a limit, 1 when it is used up. More than 1 where the limit was lowered below what is in use. A
/// limit of 0 is always used up.
pub fn ratio(used: u64, limit: u64) -> f64 {
    if limit == 0 { 1.0 } else { float(used) / float(limit) }
}

/// Soft limits of a process. The layout of the file is that of `proc_pid_limits` in `fs/proc/base.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_NOFILE`: file descriptors of the process. It limits the highest number of a descriptor; the kernel
    /// assigns the lowest free number.
    pub open_files: Limit,
    /// `RLIMIT_NPROC`: threads of all processes of the same real user.
    pub processes: Limit,
}

impl Limits {
    /// Reads the file. The limits are those of all threads, and can be read until the process has exited, even if its
    /// leader thread has exited before.
    pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read("limits", LIMIT, buffer)?;
        // The kernel writes nothing for a process that is just exiting.
        if buffer.is_empty() {
            return Err(Unreadable::Gone);
        }
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// `None` for text that no kernel writes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        // procfs counts words from the end of a line, and panics where there are too few. It accepts numbers with a
        // sign.
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        if text.contains(&b'+') || lines.any(|line| line.split_whitespace().nth(FEWEST_WORDS - 1).is_none()) {
            return None;
        }
        let AllLimits { max_open_files, max_processes, .. } = parse_by_procfs(text)?;
        Some(Self {
            open_files: max_open_files.soft_limit.into(),
            processes: max_processes.soft_limit.into(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is wanted, not the last digit")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, getrlimit};

    use super::*;
    use crate::proc::{Proc, status::fixtures};

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
    fn a_limit_of_0_is_used_up_and_no_limit_has_no_ratio() {
        assert_eq!(Limit::Of(1024).ratio(256), Some(0.25));
        assert_eq!(Limit::Of(4).ratio(6), Some(1.5));
        assert_eq!([Limit::Of(0).ratio(0), Limit::Of(0).ratio(u64::MAX)], [Some(1.0); 2]);
        assert_eq!(Limit::Unlimited.ratio(256), None);
    }

    #[test]
    fn the_own_limits_are_those_of_the_system_calls() {
        let process = Proc::new("/proc").process(std::process::id()).unwrap();
        let limit = |resource| getrlimit(resource).current.map_or(Limit::Unlimited, Limit::Of);
        let limits = Limits { open_files: limit(Resource::Nofile), processes: limit(Resource::Nproc) };
        assert_eq!(Limits::read(&process, &mut Vec::new()), Ok(limits));
    }
}
