//! The JSON document: two samples, compared. A pure function of both.

mod values;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use self::values::{Values, rounded};
use crate::{
    model::{
        counters::{Counter, OriginKind, Totals},
        exit::{EndKind, ProcessEnd, signal_name},
        missing::{MissingValues, Reason, Values as Absent},
        sample::{ProcessSample, Sample},
        source::{Source, Sources},
    },
    proc::system::Host,
    sys::boot_clock::seconds,
};

#[derive(Clone, Debug, Serialize)]
pub struct Document {
    name: &'static str,
    /// Milliseconds since 1970, of the second collection.
    timestamp: u64,
    host: HostFields,
    agent: AgentFields,
    process: Vec<String>,
    sample_seconds: f64,
    metrics: AllFields,
    processes: Vec<ProcessFields>,
    /// Processes that exited between the collections.
    exits: Vec<ExitFields>,
}

#[derive(Clone, Debug, Serialize)]
struct HostFields {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct AgentFields {
    version: &'static str,
    sources: SourceFields,
    warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct SourceFields {
    context_switches: &'static str,
    block_io: &'static str,
    lifecycle: &'static str,
}

/// How a process exited. Unknown values are omitted.
#[derive(Clone, Debug, Serialize)]
struct ExitFields {
    pid: u32,
    name: String,
    /// Milliseconds since 1970.
    start_time: u64,
    /// Milliseconds since 1970.
    exit_time: u64,
    /// Seconds.
    run_time: f64,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal_name: Option<String>,
    core_dumped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_rss_peak: Option<u64>,
}

impl ExitFields {
    /// `None` for a process that was deselected.
    fn of(end: &ProcessEnd) -> Option<Self> {
        let EndKind::Exited(exit) = end.how else { return None };
        Some(Self {
            pid: end.identity.pid,
            name: end.name.to_string(),
            start_time: milliseconds(end.started),
            exit_time: milliseconds(end.at),
            run_time: rounded(end.lasted.as_secs_f64(), 6),
            reason: exit.reason(),
            code: exit.code(),
            signal: exit.signal(),
            signal_name: exit.signal().map(signal_name),
            core_dumped: exit.core_dumped(),
            memory_rss_peak: end.peak_bytes,
        })
    }
}

#[derive(Clone, Debug, Serialize)]
struct AllFields {
    /// `None` where there is none, but /proc hides processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    process_count: Option<usize>,
    #[serde(flatten)]
    metrics: Values,
}

#[derive(Clone, Debug, Serialize)]
struct ProcessFields {
    pid: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable_name: Option<String>,
    /// Milliseconds since 1970.
    start_time: u64,
    metrics: Values,
}

/// What the document contains besides the two samples.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    pub host: &'a Host,
    /// Memory of the machine in bytes; `None` if it could not be read.
    pub memory_bytes: Option<u64>,
    /// The source of each signal.
    pub sources: Sources,
    /// The patterns that select the processes.
    pub patterns: Vec<String>,
    /// Problems of the sources, one sentence each.
    pub problems: &'a [String],
}

impl Document {
    /// The second sample, compared with the first.
    pub fn new(first: &Sample, second: &Sample, context: Context<'_>) -> Self {
        let mut missing = second.missing_values.clone();
        let processes: Vec<ProcessFields> = second
            .processes
            .iter()
            .map(|process| ProcessFields {
                pid: process.identity.pid,
                name: process.name.to_string(),
                executable_name: process.executable.as_deref().map(str::to_owned),
                start_time: milliseconds(process.started),
                metrics: values(first, process, context.memory_bytes, &mut missing),
            })
            .collect();
        let warnings = context.problems.iter().cloned().chain(missing.sentences()).collect();
        Self {
            name: "m8refsvr",
            timestamp: milliseconds(second.at),
            host: HostFields { name: context.host.name.clone(), id: context.host.id.clone() },
            agent: AgentFields {
                version: env!("CARGO_PKG_VERSION"),
                sources: SourceFields {
                    context_switches: context.sources.context_switches.name(),
                    block_io: context.sources.block_io.name(),
                    lifecycle: context.sources.lifecycle.name(),
                },
                warnings,
            },
            process: context.patterns,
            sample_seconds: rounded(second.began.saturating_duration_since(first.began).as_secs_f64(), 6),
            metrics: totals(&processes, context.sources, second.missing_values.hides_processes()),
            processes,
            exits: second.ends.iter().filter_map(ExitFields::of).collect(),
        }
    }

    pub fn process_count(&self) -> usize {
        self.processes.len()
    }
}

fn values(
    first: &Sample,
    process: &ProcessSample,
    memory_bytes: Option<u64>,
    missing: &mut MissingValues,
) -> Values {
    let earlier = first.processes.iter().find(|earlier| earlier.identity == process.identity);
    let cpu_usage = cpu_usage(first, earlier, process);
    if cpu_usage.is_none() {
        missing.add(Absent::CpuUsage, Reason::NewToSelection);
    }
    let of_memory = |resident| Some(100.0 * float(resident) / float(memory_bytes?));
    let memory_usage = process.resident_bytes.and_then(of_memory);
    if memory_bytes.is_none() {
        missing.add(Absent::MemoryUsage, Reason::NoMemoryTotal);
    }
    // /proc has no block I/O: what the process did before the BPF programs counted for it is not known.
    let has_block_io = Counter::ALL.iter().any(|it| it.is_block_io() && process.counters.get(*it).is_some());
    let is_new = earlier.is_none() && has_block_io;
    if is_new {
        missing.add(Absent::Counters(OriginKind::BlockIo), Reason::NewToSelection);
    }
    let counters =
        Totals::of(|counter| process.counters.get(counter).filter(|_| !(is_new && counter.is_block_io())));
    Values::of(process, &counters, cpu_usage, memory_usage)
}

/// CPU time between the two collections, in percent of one CPU. A process that started after the first collection
/// counts from 0. A process that was running then, but did not match, has no first value.
fn cpu_usage(first: &Sample, earlier: Option<&ProcessSample>, process: &ProcessSample) -> Option<f64> {
    let time = |process: &ProcessSample| process.counters.cpu_time().unwrap_or_default();
    let (used, since) = match earlier {
        Some(earlier) => (time(process).saturating_sub(time(earlier)), earlier.at),
        None if process.identity.start_ticks >= first.began_ticks => (time(process), first.began),
        None => return None,
    };
    let elapsed = process.at.saturating_duration_since(since).as_secs_f64();
    (elapsed > 0.0).then(|| 100.0 * seconds(used) / elapsed)
}

/// Values of all processes together.
fn totals(processes: &[ProcessFields], sources: Sources, is_blind: bool) -> AllFields {
    let values = processes.iter().map(|process| &process.metrics);
    let has_block_io = sources.block_io != Source::None;
    AllFields {
        process_count: Some(processes.len()).filter(|&count| count > 0 || !is_blind),
        metrics: Values::combined(values, has_block_io, is_blind),
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a machine's memory are below 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
