//! `/proc/PID/fdinfo/FD` of a BPF program: how often it ran and for how long. `bpf_prog_show_fdinfo` in
//! `kernel/bpf/syscall.c` writes it; unlike `BPF_OBJ_GET_INFO_BY_FD` it is to be had without unsafe code, and tells of
//! missed runs, which aya's type for the other does not.

use std::{os::fd::RawFd, time::Duration};

use super::{Process, Unreadable, number};

/// What the kernel tells of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Time and number of its runs; `None` while `kernel.bpf_stats_enabled` is 0.
    pub runs: Option<(Duration, u64)>,
    /// Runs that were left out as it was already running on that CPU; `None` before Linux 5.12.
    pub missed: Option<u64>,
}

impl ProgramInfo {
    /// Reads it of a descriptor of `process`.
    pub fn read(process: &Process, descriptor: RawFd, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read(&format!("fdinfo/{descriptor}"), usize::MAX, buffer)?;
        Ok(Self::parse(buffer))
    }

    /// Takes the lines apart.
    pub fn parse(text: &[u8]) -> Self {
        let value = |name: &[u8]| {
            let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name))?;
            number(line.strip_prefix(b":")?.trim_ascii())
        };
        let runs = value(b"run_time_ns").zip(value(b"run_cnt")).filter(|&(_, count)| count > 0);
        Self {
            runs: runs.map(|(time, count)| (Duration::from_nanos(time), count)),
            missed: value(b"recursion_misses"),
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
