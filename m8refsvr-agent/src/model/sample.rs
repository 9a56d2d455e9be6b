//! What one collection saw: of every matching process what the kernel counted and what /proc shows, side by side, at one
//! moment. Knows no names of metrics on the wire and no way out.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use crate::{
    model::{
        counters::Totals, exit::ProcessEnd, limit_utilization::LimitUtilization, missing::MissingValues,
    },
    proc::process_attributes::ProcessAttributes,
};

/// A process for ever: its id may come again, not with the same start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// Start in clock ticks after boot.
    pub start_ticks: u64,
}

/// One collection at all matching processes, by process id.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it ended.
    pub at: SystemTime,
    /// When it began, in clock ticks after boot: what started later was not there.
    pub began_ticks: u64,
    /// When it began.
    pub began: Instant,
    /// The processes.
    pub processes: Vec<ProcessSample>,
    /// Those that are over since the previous collection.
    pub over: Vec<ProcessEnd>,
    /// What could not be read of them.
    pub absences: MissingValues,
}

/// What was seen of one process.
#[derive(Clone, Debug)]
pub struct ProcessSample {
    /// Which process.
    pub identity: Identity,
    /// Its name, as to be shown.
    pub name: Arc<str>,
    /// File name of its executable; `None` without the right to know it.
    pub executable: Option<Arc<str>>,
    /// What describes it, where that is wanted.
    pub attributes: Option<Arc<ProcessAttributes>>,
    /// The pattern that selected it, by its place.
    pub group: usize,
    /// When its times were read.
    pub at: Instant,
    /// When it started.
    pub started: SystemTime,
    /// Its counters since it started; of block I/O since it is tracked.
    pub counters: Totals,
    /// Living threads.
    pub threads: u64,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, bytes.
    pub virtual_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// What it had when it began to match, or nothing if it started since the collection before that; `None` where that is not
    /// known.
    pub first: Option<Totals>,
    /// How near it is to its limits.
    pub limits_used: LimitUtilization,
}

/// Looks made up for tests of what is made of them.
#[cfg(test)]
pub(crate) mod fixtures {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{
        model::counters::Counter,
        model::exit::{EndKind, Exit},
        sys::boot_clock::of_ticks,
    };

    /// A process that ended by itself, with so many seconds of CPU time in user mode.
    pub(crate) fn ended(pid: u32, start_ticks: u64, cpu_user: u64) -> ProcessEnd {
        let process = process(pid, start_ticks, cpu_user);
        ProcessEnd {
            identity: process.identity,
            name: process.name.clone(),
            executable: process.executable.clone(),
            group: 0,
            how: EndKind::Exited(Exit::Code(0)),
            started: process.started,
            at: process.started + Duration::from_millis(1),
            lasted: Duration::from_millis(1),
            peak_bytes: None,
            first: None,
            last: process.counters,
        }
    }

    /// One that is gone, of which nothing more is known.
    pub(crate) fn vanished(pid: u32, start_ticks: u64) -> ProcessEnd {
        let how = EndKind::Exited(Exit::Unknown);
        ProcessEnd { how, last: Totals::default(), ..ended(pid, start_ticks, 0) }
    }

    /// A process with so many seconds of CPU time in user mode.
    pub(crate) fn process(pid: u32, start_ticks: u64, cpu_user: u64) -> ProcessSample {
        ProcessSample {
            identity: Identity { pid, start_ticks },
            name: "M8RefSvr".into(),
            executable: None,
            attributes: None,
            group: 0,
            at: Instant::now(),
            started: UNIX_EPOCH + of_ticks(start_ticks),
            counters: Totals::of(|counter| match counter {
                Counter::CpuUser => Some(cpu_user * 1_000_000_000),
                Counter::CpuSystem => Some(0),
                Counter::MinorFaults => Some(3),
                Counter::MajorFaults => Some(1),
                _ => None,
            }),
            threads: u64::from(pid) + 1,
            resident_bytes: Some(1 << 20),
            virtual_bytes: Some(1 << 21),
            open_files: Some(62),
            first: None,
            limits_used: LimitUtilization::default(),
        }
    }

    /// Totals of nothing: those at the beginning of a process that started since the previous collection.
    pub(crate) fn nothing() -> Option<Totals> {
        Some(Totals::of(|_| Some(0)))
    }

    /// One that started since the previous collection.
    pub(crate) fn young(pid: u32, start_ticks: u64, cpu_user: u64) -> ProcessSample {
        ProcessSample { first: nothing(), ..process(pid, start_ticks, cpu_user) }
    }

    /// A collection that began so many clock ticks after boot.
    pub(crate) fn sample(began_ticks: u64, processes: impl Into<Vec<ProcessSample>>) -> Sample {
        Sample {
            at: UNIX_EPOCH + of_ticks(began_ticks),
            began_ticks,
            began: Instant::now(),
            processes: processes.into(),
            over: Vec::new(),
            absences: MissingValues::default(),
        }
    }
}
