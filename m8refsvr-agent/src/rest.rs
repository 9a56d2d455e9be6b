//! Whether a process has run since it was looked at. Of one that has not, everything is as it was but what others can
//! change: its memory, which the kernel takes away, and its descriptors, which another process may share.
//!
//! A thread that has run has left its CPU, which the programs count, or has it still, which the process's CPU clock tells
//! a tick later. Where the programs don't count nothing is taken to be at rest: time that a hypervisor took from a
//! machine is not on that clock, and may be all that a thread was given.

use std::time::Duration;

use crate::proc::{Process, cpu_clock, io::StorageIo, stat::Stat};

/// A process that was at rest for so many looks, one after the other, is taken to be so for long.
const LONG: u32 = 8;

/// What only the process itself can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) stat: Stat,
    pub(crate) storage: Option<StorageIo>,
}

/// What tells of one process that it has not run since the last look.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Context switches of its threads before its figures were read.
    switches: Option<u64>,
    /// Its CPU clock before that. It is asked for where there was no switch alone.
    cpu: Option<Duration>,
    figures: Option<Figures>,
    /// Looks since.
    looks: u32,
}

impl Rest {
    /// What was read of the process, where it has not run since. Else `switches`, and its clock at this moment, are those
    /// of what is read and kept next.
    pub(crate) fn begin_look(&mut self, process: &Process, switches: Option<u64>) -> Option<Figures> {
        let moved = switches.is_none() || switches != self.switches;
        let cpu = if moved { None } else { cpu_clock::read(process).ok() };
        if cpu.is_none() || cpu != self.cpu {
            *self = Self { switches, cpu, ..Self::default() };
            return None;
        }
        self.looks = self.looks.saturating_add(1);
        self.figures
    }

    /// What was read of the process after [`begin_look`](Self::begin_look). Where something could not be read, it is to
    /// be tried again.
    pub(crate) fn keep(&mut self, figures: Figures) {
        let is_whole = figures.storage.is_some() && !figures.stat.has_no_leader();
        self.figures = (is_whole && self.cpu.is_some()).then_some(figures);
    }

    /// Whether it is at rest for long.
    pub(crate) fn is_long(&self) -> bool {
        self.looks >= LONG && self.figures.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Proc;

    /// A process that waits, what was read of it, and how it is looked at.
    fn resting() -> (std::process::Child, Process, Figures) {
        let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Proc::new("/proc").process(child.id()).unwrap();
        let clock = || cpu_clock::read(&process).unwrap();
        let mut before = clock();
        // It is at rest once it has executed its program.
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = clock();
            if now == before {
                break;
            }
            before = now;
        }
        let mut buffer = Vec::new();
        let storage = StorageIo::read(&process, &mut buffer).ok();
        let figures = Figures { stat: Stat::read(&process, &mut buffer).unwrap(), storage };
        (child, process, figures)
    }

    #[test]
    fn what_was_read_is_right_as_long_as_neither_switches_nor_clock_move() {
        let (mut child, process, figures) = resting();
        let mut rest = Rest::default();
        // The clock is asked for at the second look, and known at the third.
        for expected in [None, None, Some(figures), Some(figures)] {
            assert_eq!(rest.begin_look(&process, Some(5)), expected);
            if expected.is_none() {
                rest.keep(figures);
            }
        }
        assert_eq!(rest.begin_look(&process, Some(6)), None, "a thread has left its CPU");
        for _ in 0..3 {
            assert_eq!(rest.begin_look(&process, None), None, "nobody counts");
            rest.keep(figures);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn one_that_runs_is_never_at_rest() {
        let process = Proc::new("/proc").process(std::process::id()).unwrap();
        let (mut child, _, figures) = resting();
        let mut rest = Rest::default();
        for _ in 0..20 {
            // Longer than a tick.
            let end = std::time::Instant::now() + Duration::from_millis(20);
            while std::time::Instant::now() < end {}
            assert_eq!(rest.begin_look(&process, Some(5)), None);
            rest.keep(figures);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_could_not_be_read_is_tried_again() {
        let (mut child, process, figures) = resting();
        let mut rest = Rest::default();
        for _ in 0..5 {
            assert_eq!(rest.begin_look(&process, Some(5)), None);
            rest.keep(Figures { storage: None, ..figures });
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_long_rest_ends_when_the_process_runs() {
        let (mut child, process, figures) = resting();
        let mut rest = Rest::default();
        let mut looks = 0;
        while !rest.is_long() {
            if rest.begin_look(&process, Some(5)).is_none() {
                rest.keep(figures);
            }
            looks += 1;
        }
        assert_eq!(looks, LONG + 2);
        assert_eq!(rest.begin_look(&process, Some(6)), None);
        assert!(!rest.is_long());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
