//! Whether a process has run since it was looked at. Of one that has not, all is as it was but what others can change:
//! its memory, which the kernel takes away; its descriptors, which another process may share; and its threads, of which a
//! tracer takes in those that have ended.
//!
//! A thread that has run has left its CPU, which the programs count, unless it ended; or has it still, which the process's
//! CPU clock tells a tick later. Where the programs don't count nothing is taken to be at rest: time that a hypervisor
//! took from a machine is not on that clock, and may be all that a thread was given.

use std::time::Duration;

use crate::proc::{Process, cpu_clock, io::StorageIo, stat::Stat};

/// A process that was at rest for so many looks, one after the other, is taken to be so for long.
const LONG: u32 = 8;

/// What was read of a process that has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CachedReading {
    pub(crate) stat: Stat,
    pub(crate) io: Option<StorageIo>,
}

/// What tells of one process that it has not run since the last collection.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Context switches of its threads before its figures were read.
    switches: Option<u64>,
    /// Its CPU clock before that. It is asked for where there was no switch alone.
    cpu: Option<Duration>,
    cached: Option<CachedReading>,
    /// Looks since.
    looks: u32,
}

impl Rest {
    /// What was read of the process, where it has not run since. Else `switches`, and its clock at this moment, are those
    /// of what is read and kept next.
    pub(crate) fn begin_collection(
        &mut self,
        process: &Process,
        switches: Option<u64>,
    ) -> Option<CachedReading> {
        let moved = switches.is_none() || switches != self.switches;
        let cpu = if moved { None } else { cpu_clock::read(process) };
        let is_same = cpu.is_some() && cpu == self.cpu;
        let cached = self.cached.filter(|cached| is_same && process.threads() == Ok(cached.stat.threads));
        if cached.is_none() {
            *self = Self { switches, cpu, ..Self::default() };
            return None;
        }
        self.looks = self.looks.saturating_add(1);
        cached
    }

    /// What was read of the process after [`begin_collection`](Self::begin_collection). Where something could not be read, it is to
    /// be tried again.
    pub(crate) fn keep(&mut self, cached: CachedReading) {
        let is_whole = cached.io.is_some() && !cached.stat.has_no_leader();
        self.cached = (is_whole && self.cpu.is_some()).then_some(cached);
    }

    /// Whether it is at rest for long.
    pub(crate) fn is_long(&self) -> bool {
        self.looks >= LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Proc;

    /// A process that ends with the test.
    struct Running(std::process::Child);

    impl Running {
        fn start(program: &str, arguments: &[&str]) -> (Self, Process) {
            let child = std::process::Command::new(program).args(arguments).spawn().unwrap();
            let process = Proc::new("/proc").process(child.id()).unwrap();
            (Self(child), process)
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn read(process: &Process) -> CachedReading {
        let mut buffer = Vec::new();
        let io = crate::proc::io::read(process, &mut buffer).ok();
        CachedReading { stat: Stat::read(process, &mut buffer).unwrap(), io }
    }

    /// A process that waits, and what was read of it.
    fn resting() -> (Running, Process, CachedReading) {
        let (running, process) = Running::start("sleep", &["60"]);
        // It is at rest once it has executed its program, and its clock stands.
        let comm = || std::fs::read_to_string(format!("/proc/{}/comm", process.pid())).unwrap();
        let clock = || (comm(), cpu_clock::read(&process).unwrap());
        let mut before = clock();
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(100));
            let now = clock();
            if now == before && now.0 == "sleep\n" {
                break;
            }
            before = now;
        }
        let cached = read(&process);
        (running, process, cached)
    }

    #[test]
    fn what_was_read_is_right_as_long_as_neither_switches_nor_clock_move() {
        let (_running, process, cached) = resting();
        let mut rest = Rest::default();
        // The clock is asked for at the second collection, and known at the third.
        for expected in [None, None, Some(cached), Some(cached)] {
            assert_eq!(rest.begin_collection(&process, Some(5)), expected);
            if expected.is_none() {
                rest.keep(cached);
            }
        }
        assert_eq!(rest.begin_collection(&process, Some(6)), None, "a thread has left its CPU");
        for _ in 0..3 {
            assert_eq!(rest.begin_collection(&process, None), None, "nobody counts");
            rest.keep(cached);
        }
    }

    #[test]
    fn one_that_runs_is_never_at_rest() {
        let (_running, process) = Running::start("sh", &["-c", "while :; do :; done"]);
        let cached = read(&process);
        let mut rest = Rest::default();
        for _ in 0..10 {
            // Many ticks, also where it has to share its CPU.
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(rest.begin_collection(&process, Some(5)), None);
            rest.keep(cached);
        }
    }

    #[test]
    fn one_whose_threads_are_fewer_or_more_is_read_again() {
        let (_running, process, cached) = resting();
        for threads in [cached.stat.threads + 1, cached.stat.threads - 1] {
            let mut rest = Rest::default();
            for _ in 0..5 {
                assert_eq!(rest.begin_collection(&process, Some(5)), None);
                rest.keep(CachedReading { stat: Stat { threads, ..cached.stat }, ..cached });
            }
        }
    }

    #[test]
    fn what_could_not_be_read_is_tried_again() {
        let (_running, process, cached) = resting();
        let mut rest = Rest::default();
        for _ in 0..5 {
            assert_eq!(rest.begin_collection(&process, Some(5)), None);
            rest.keep(CachedReading { io: None, ..cached });
        }
    }

    #[test]
    fn a_long_rest_ends_when_the_process_runs() {
        let (_running, process, cached) = resting();
        let mut rest = Rest::default();
        let mut looks = 0;
        while !rest.is_long() {
            if rest.begin_collection(&process, Some(5)).is_none() {
                rest.keep(cached);
            }
            looks += 1;
        }
        assert_eq!(looks, LONG + 2);
        assert_eq!(rest.begin_collection(&process, Some(6)), None);
        assert!(!rest.is_long());
    }
}
