//! Whether a process has run since the last collection. The values of an idle process are what they were, but for those
//! that others can change: its memory, which the kernel reclaims; its descriptors, which it may share with another
//! process; and its threads, of which a tracer reaps exited ones.
//!
//! A thread that ran has left its CPU, which the BPF programs count, or has exited, or still runs, which the process's
//! CPU clock shows a tick later. Where no BPF program counts, no process is taken for idle: the CPU clock does not show
//! time that a hypervisor stole, and that may be all that a thread was given.

use std::time::Duration;

use crate::proc::{Process, cpu_clock, io::IoAccounting, stat::Stat};

/// A process that was idle for so many collections in a row is idle for long.
const LONG_IDLE: u32 = 8;

/// The last reading of a process while it was active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CachedReading {
    pub(crate) stat: Stat,
    pub(crate) io: Option<IoAccounting>,
}

/// Decides whether a process has run since the last collection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Context switches of its threads before the reading.
    switches: Option<u64>,
    /// Its CPU clock before the reading. It is read only where there was no switch.
    cpu: Option<Duration>,
    cached: Option<CachedReading>,
    /// Collections since the reading, at which it had not run.
    idle_collections: u32,
}

impl Activity {
    /// Returns the cached reading if the process has not run since. Else `switches` and its clock now belong to the
    /// reading that is cached next.
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
        self.idle_collections = self.idle_collections.saturating_add(1);
        cached
    }

    /// Caches the reading after [`begin_collection`](Self::begin_collection). An incomplete one is not cached, so that
    /// the next collection tries again.
    pub(crate) fn keep(&mut self, cached: CachedReading) {
        let is_complete = cached.io.is_some() && !cached.stat.has_no_leader();
        self.cached = (is_complete && self.cpu.is_some()).then_some(cached);
    }

    /// Whether the process is idle for long.
    pub(crate) fn is_idle_for_long(&self) -> bool {
        self.idle_collections >= LONG_IDLE
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

    /// A process that waits, and a reading of it.
    fn idle_process() -> (Running, Process, CachedReading) {
        let (running, process) = Running::start("sleep", &["60"]);
        // It is idle once it has executed its program, and its CPU clock stands still.
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
    fn the_cached_reading_is_used_while_neither_switches_nor_clock_change() {
        let (_running, process, cached) = idle_process();
        let mut activity = Activity::default();
        // The clock is read first at the second collection, and compared at the third.
        for expected in [None, None, Some(cached), Some(cached)] {
            assert_eq!(activity.begin_collection(&process, Some(5)), expected);
            if expected.is_none() {
                activity.keep(cached);
            }
        }
        assert_eq!(activity.begin_collection(&process, Some(6)), None, "a thread has left its CPU");
        for _ in 0..3 {
            assert_eq!(activity.begin_collection(&process, None), None, "no BPF program counts");
            activity.keep(cached);
        }
    }

    #[test]
    fn a_process_that_runs_is_never_idle() {
        let (_running, process) = Running::start("sh", &["-c", "while :; do :; done"]);
        let cached = read(&process);
        let mut activity = Activity::default();
        for _ in 0..10 {
            // Many ticks, also where it has to share its CPU.
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(activity.begin_collection(&process, Some(5)), None);
            activity.keep(cached);
        }
    }

    #[test]
    fn a_process_with_more_or_fewer_threads_is_read_again() {
        let (_running, process, cached) = idle_process();
        for threads in [cached.stat.threads + 1, cached.stat.threads - 1] {
            let mut activity = Activity::default();
            for _ in 0..5 {
                assert_eq!(activity.begin_collection(&process, Some(5)), None);
                activity.keep(CachedReading { stat: Stat { threads, ..cached.stat }, ..cached });
            }
        }
    }

    #[test]
    fn an_incomplete_reading_is_not_cached() {
        let (_running, process, cached) = idle_process();
        let mut activity = Activity::default();
        for _ in 0..5 {
            assert_eq!(activity.begin_collection(&process, Some(5)), None);
            activity.keep(CachedReading { io: None, ..cached });
        }
    }

    #[test]
    fn a_process_that_was_idle_for_long_is_active_once_it_runs() {
        let (_running, process, cached) = idle_process();
        let mut activity = Activity::default();
        let mut collections = 0;
        while !activity.is_idle_for_long() {
            if activity.begin_collection(&process, Some(5)).is_none() {
                activity.keep(cached);
            }
            collections += 1;
        }
        assert_eq!(collections, LONG_IDLE + 2);
        assert_eq!(activity.begin_collection(&process, Some(6)), None);
        assert!(!activity.is_idle_for_long());
    }
}
