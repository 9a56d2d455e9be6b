//! Counters of a sample, in the shape of what tests compare them with.

use std::time::Duration;

use m8refsvr_agent::{
    bpf::Switches,
    model::{
        counters::{Counter, OriginKind, Readings, Totals},
        sample::ProcessSample,
    },
    proc::io::IoAccounting,
};
use m8refsvr_common::record::Counts;

/// Counters of a process, as the kernel's records have them.
pub(crate) trait Counted {
    fn counter(&self, counter: Counter) -> Option<u64>;

    fn switches(&self) -> Option<Switches> {
        Some(Switches {
            voluntary: self.counter(Counter::Voluntary)?,
            involuntary: self.counter(Counter::Involuntary)?,
        })
    }

    fn block(&self) -> Option<Counts> {
        Some(Counts {
            read_bytes: self.counter(Counter::BlockRead)?,
            write_bytes: self.counter(Counter::BlockWrite)?,
            read_operations: self.counter(Counter::BlockReads)?,
            write_operations: self.counter(Counter::BlockWrites)?,
            ..Counts::default()
        })
    }

    /// Those that /proc/PID/io has.
    fn io(&self) -> Totals;

    fn cpu_time(&self) -> Duration {
        let parts = [Counter::CpuUser, Counter::CpuSystem].map(|part| self.counter(part).unwrap());
        Duration::from_nanos(parts.iter().sum())
    }
}

impl Counted for ProcessSample {
    fn counter(&self, counter: Counter) -> Option<u64> {
        self.counters.get(counter)
    }

    fn io(&self) -> Totals {
        Totals::of(|counter| self.counters.get(counter).filter(|_| counter.origin().kind() == OriginKind::Io))
    }
}

/// What was read in /proc/PID/io, as counters.
pub(crate) fn counters_of(io: &IoAccounting) -> Totals {
    Totals::read(Readings { io: Some(io), ..Readings::default() })
}
