//! `/proc/PID/fdinfo/FD` of a BPF program: how often it ran and for how long (`bpf_prog_show_fdinfo` in
//! `kernel/bpf/syscall.c`). `BPF_OBJ_GET_INFO_BY_FD` has the same values, but needs unsafe code, and aya's type for it
//! has no recursion misses.

use std::{os::fd::RawFd, time::Duration};

use super::{
    Process, Unreadable,
    text::{line_after, number},
};

/// Runs of a BPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Time and number of its runs; `None` while `kernel.bpf_stats_enabled` is 0.
    pub runs: Option<(Duration, u64)>,
    /// Recursion misses: runs that the kernel skipped, as the program was already running on that CPU. `None` before
    /// Linux 5.12.
    pub missed: Option<u64>,
}

impl ProgramInfo {
    /// Reads the file of a descriptor of `process`.
    pub fn read(process: &Process, descriptor: RawFd, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read(&format!("fdinfo/{descriptor}"), usize::MAX, buffer)?;
        Ok(Self::parse(buffer))
    }

    /// A value whose line is missing is `None`.
    pub fn parse(text: &[u8]) -> Self {
        let value = |prefix: &[u8]| number(line_after(text, prefix)?.trim_ascii());
        let runs = value(b"run_time_ns:").zip(value(b"run_cnt:")).filter(|&(_, count)| count > 0);
        Self {
            runs: runs.map(|(time, count)| (Duration::from_nanos(time), count)),
            missed: value(b"recursion_misses:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_missed_runs_are_read() {
        let text = b"pos:\t0\nflags:\t02000000\nprog_type:\t17\nrun_time_ns:\t4200\nrun_cnt:\t100\n\
                     recursion_misses:\t3\nverified_insns:\t77\n";
        let expected = ProgramInfo { runs: Some((Duration::from_nanos(4200), 100)), missed: Some(3) };
        assert_eq!(ProgramInfo::parse(text), expected);
    }

    #[test]
    fn what_the_kernel_does_not_measure_is_absent() {
        let text = b"prog_type:\t17\nrun_time_ns:\t0\nrun_cnt:\t0\n";
        assert_eq!(ProgramInfo::parse(text), ProgramInfo { runs: None, missed: None });
        assert_eq!(ProgramInfo::parse(b"pos:\t0\n"), ProgramInfo { runs: None, missed: None });
    }
}
