//! What one collection yields: for each tracked process what the kernel counted and what /proc shows, read at the same
//! time. Knows neither names of metrics nor how they are exported.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use crate::{
    model::{
        counters::Totals, exit::ProcessEnd, identity::Identity, limit_utilization::LimitUtilization,
        missing::MissingValues,
    },
    proc::process_attributes::ProcessAttributes,
};

/// One collection over all tracked processes, sorted by process ID.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When the collection ended.
    pub at: SystemTime,
    /// When the collection began, in clock ticks after boot. Processes that started later are not in it.
    pub began_ticks: u64,
    /// When the collection began.
    pub began: Instant,
    pub processes: Vec<ProcessSample>,
    /// Processes that exited or were deselected since the previous collection.
    pub ends: Vec<ProcessEnd>,
    /// Values that could not be read.
    pub missing_values: MissingValues,
}

/// One process in a sample.
#[derive(Clone, Debug)]
pub struct ProcessSample {
    pub identity: Identity,
    /// Its name, as it is shown.
    pub name: Arc<str>,
    /// File name of its executable; `None` without the right to read it.
    pub executable: Option<Arc<str>>,
    /// Its resource attributes, if they are wanted.
    pub attributes: Option<Arc<ProcessAttributes>>,
    /// Index of the group that selected it.
    pub group: usize,
    /// Whether its parent was a tracked process of the same group when it was forked.
    pub has_parent: bool,
    /// When its CPU time was read.
    pub at: Instant,
    pub started: SystemTime,
    /// Its counters since it started; those of block I/O since it is tracked.
    pub counters: Totals,
    /// Living threads.
    pub threads: u64,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, bytes.
    pub virtual_bytes: Option<u64>,
    pub open_files: Option<u64>,
    /// Its counters when it began to match: zeros if it started after the collection before that. `None` if they are
    /// not known.
    pub first: Option<Totals>,
    pub limits_used: LimitUtilization,
}

/// Samples for tests.
#[cfg(test)]
pub(crate) mod fixtures {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{
        model::counters::Counter,
        model::exit::{EndKind, Exit},
        sys::boot_clock::of_ticks,
    };

    /// A process that exited with code 0, after this many seconds of user CPU time.
    pub(crate) fn ended(pid: u32, start_ticks: u64, cpu_user: u64) -> ProcessEnd {
        let process = process(pid, start_ticks, cpu_user);
        ProcessEnd {
            identity: process.identity,
            name: process.name.clone(),
            executable: process.executable.clone(),
            group: 0,
            how: EndKind::Exited(Exit::Code(0)),
            has_parent: false,
            started: process.started,
            at: process.started + Duration::from_millis(1),
            lasted: Duration::from_millis(1),
            peak_bytes: None,
            first: None,
            last: process.counters,
        }
    }

    /// A process that is gone, without an exit record.
    pub(crate) fn vanished(pid: u32, start_ticks: u64) -> ProcessEnd {
        let how = EndKind::Exited(Exit::Unknown);
        ProcessEnd { how, last: Totals::default(), ..ended(pid, start_ticks, 0) }
    }

    /// A process with this many seconds of user CPU time.
    pub(crate) fn process(pid: u32, start_ticks: u64, cpu_user: u64) -> ProcessSample {
        ProcessSample {
            identity: Identity { pid, start_ticks },
            name: "M8RefSvr".into(),
            executable: None,
            attributes: None,
            group: 0,
            has_parent: false,
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

    /// Zeros: the first counters of a process that started since the previous collection.
    pub(crate) fn nothing() -> Option<Totals> {
        Some(Totals::of(|_| Some(0)))
    }

    /// A process that started since the previous collection.
    pub(crate) fn young(pid: u32, start_ticks: u64, cpu_user: u64) -> ProcessSample {
        ProcessSample { first: nothing(), ..process(pid, start_ticks, cpu_user) }
    }

    /// A sample whose collection began this many clock ticks after boot.
    pub(crate) fn sample(began_ticks: u64, processes: impl Into<Vec<ProcessSample>>) -> Sample {
        Sample {
            at: UNIX_EPOCH + of_ticks(began_ticks),
            began_ticks,
            began: Instant::now(),
            processes: processes.into(),
            ends: Vec::new(),
            missing_values: MissingValues::default(),
        }
    }
}
