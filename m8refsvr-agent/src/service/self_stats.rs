//! The machine's memory and CPUs, the agent's own cost, and the statistics of its BPF programs.

use std::time::{Duration, Instant};

use m8refsvr_common::record::DropsRecord;
use rustix::{
    process::getpid,
    time::{ClockId, clock_gettime},
};

use crate::{
    bpf::Kernel,
    collector::Collector,
    metrics::{
        aggregate::Machine,
        report::{AgentReport, Exports, Program},
    },
    proc::{
        Proc,
        bpf_fdinfo::ProgramInfo,
        statm::Memory,
        system::{memory_bytes, online_cpus},
    },
};

/// Counts and duration of collections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Collections {
    /// Duration of the last one.
    pub last: Duration,
    /// Skipped because an earlier one took longer than the interval.
    pub skipped: u64,
    /// Failed because /proc could not be read.
    pub failed: u64,
}

/// The machine's memory and online CPUs.
pub fn machine(collector: &Collector) -> Machine {
    Machine { memory_bytes: memory_bytes(collector.proc()), cpus: online_cpus() }
}

/// The agent's own values.
pub fn report(collector: &Collector, collections: Collections, exports: Exports) -> AgentReport {
    let mut buffer = Vec::new();
    let this = u32::try_from(getpid().as_raw_nonzero().get())
        .ok()
        // The agent's own files, wherever those of tracked processes are.
        .and_then(|pid| Proc::new("/proc").process(pid).ok());
    let programs = collector.kernel().map(Kernel::programs).unwrap_or_default();
    let programs = programs.into_iter().map(|(name, descriptor)| {
        let info = this.as_ref().and_then(|this| ProgramInfo::read(this, descriptor, &mut buffer).ok());
        Program { name, runs: info.and_then(|info| info.runs), missed: info.and_then(|info| info.missed) }
    });
    let programs = programs.collect();
    AgentReport {
        collection: collections.last,
        skipped_collections: collections.skipped,
        failed_collections: collections.failed,
        cpu: Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default(),
        resident: this.and_then(|this| Some(Memory::read(&this, &mut buffer).ok()?.resident_bytes)),
        programs,
        slots: collector.kernel().map(Kernel::slots),
        drops: collector.kernel().map(|kernel| drops(&kernel.drops())).unwrap_or_default(),
        exports,
        discovery_missed: collector.discovery_missed(),
        series_overflow: None,
        sources: collector.sources(),
    }
}

fn drops(drops: &DropsRecord) -> Vec<(&'static str, u64)> {
    vec![
        ("no_free_slot", drops.no_free_slot),
        ("pid_out_of_range", drops.tgid_out_of_range),
        ("event", drops.events),
    ]
}

/// Time between two warnings about skipped runs.
const REMINDER: Duration = Duration::from_secs(10 * 60);

/// Runs of BPF programs that the kernel skipped (recursion misses). What they would have counted is missing.
#[derive(Debug, Default)]
pub struct SkippedRuns {
    warned: u64,
    warned_at: Option<Instant>,
}

impl SkippedRuns {
    /// A warning if there are more than at the last one, at most every ten minutes.
    pub fn news(&mut self, programs: &[Program], now: Instant) -> Option<String> {
        let total: u64 = programs.iter().filter_map(|program| program.missed).sum();
        let new = total.saturating_sub(self.warned);
        let was_a_moment_ago = self.warned_at.is_some_and(|at| now.saturating_duration_since(at) < REMINDER);
        if new == 0 || was_a_moment_ago {
            return None;
        }
        (self.warned, self.warned_at) = (total, Some(now));
        Some(format!(
            "the kernel skipped {new} more runs of BPF programs: what they would have counted is missing; \
             m8refsvr.agent.drops counts them as recursion"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_runs_are_a_warning_when_they_grow() {
        let mut skipped = SkippedRuns::default();
        let now = Instant::now();
        let mut news = |missed: [Option<u64>; 2], after: u64| {
            let programs = missed.map(|missed| Program { name: "block_getrq", runs: None, missed });
            skipped.news(&programs, now + Duration::from_secs(after))
        };
        assert_eq!(news([None, Some(0)], 0), None);
        assert!(news([Some(2), Some(1)], 1).unwrap().starts_with("the kernel skipped 3 more runs"));
        assert_eq!(news([Some(2), Some(5)], 2), None, "a warning was a moment ago");
        assert!(news([Some(2), Some(5)], 700).unwrap().starts_with("the kernel skipped 4 more runs"));
        assert_eq!(news([Some(2), Some(5)], 2000), None, "they do not grow");
    }
}
