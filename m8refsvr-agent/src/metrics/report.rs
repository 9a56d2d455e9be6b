//! The report of one collection: all its values, ready to export. Nothing in it changes any more.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    metrics::{
        accumulator::Accumulator,
        aggregate::{Aggregate, Machine, Moment, Value},
        cardinality::SeriesSelection,
        churn::Churn,
    },
    model::{
        counters::Account,
        sample::{ProcessSample, Sample},
        source::{Source, Sources},
    },
    proc::process_attributes::ProcessAttributes,
};

#[derive(Clone, Debug)]
pub struct Report {
    /// Start time of all totals.
    pub started: SystemTime,
    /// When the collection ended.
    pub at: SystemTime,
    /// All tracked processes together.
    pub all: Aggregate,
    /// One for each group.
    pub groups: Vec<GroupReport>,
    /// Processes with series of their own; `None` without `--per-process`.
    pub processes: Option<Vec<ProcessReport>>,
    /// The agent's own values.
    pub agent: AgentReport,
}

/// The processes of one group.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// The name of the group, which is its pattern.
    pub name: Arc<str>,
    /// All its processes.
    pub values: Aggregate,
    /// Starts and exits.
    pub churn: Churn,
    /// The overflow series: processes without series of their own. `None` if there never were any, or without
    /// `--per-process`.
    pub overflow: Option<Aggregate>,
}

/// A process with series of its own.
#[derive(Clone, Debug)]
pub struct ProcessReport {
    /// Index of its group.
    pub group: usize,
    pub pid: u32,
    /// File name of its executable, or its name if that could not be read.
    pub executable: Arc<str>,
    /// Its resource attributes, if they were read.
    pub attributes: Option<Arc<ProcessAttributes>>,
    pub created: SystemTime,
    /// Start time of its series.
    pub since: SystemTime,
    pub values: Aggregate,
}

/// What the agent reports about itself: its cost and its drops.
#[derive(Clone, Debug)]
pub struct AgentReport {
    /// How long the collection took.
    pub collection: Duration,
    /// Collections skipped because an earlier one took longer than the interval.
    pub skipped_collections: u64,
    /// Collections that failed because /proc could not be read.
    pub failed_collections: u64,
    pub cpu: Duration,
    /// Resident memory of the agent, bytes; `None` if it could not be read.
    pub resident: Option<u64>,
    /// The loaded BPF programs.
    pub programs: Vec<Program>,
    /// Slots in use, and all slots.
    pub slots: Option<(u64, u64)>,
    /// What could not be counted, by drop reason.
    pub drops: Vec<(&'static str, u64)>,
    pub exports: Exports,
    /// Processes that only a full scan of /proc discovered or deselected.
    pub discovery_missed: u64,
    /// Processes in overflow series; `None` without `--per-process`.
    pub series_overflow: Option<u64>,
    /// Where the values of each signal come from.
    pub sources: Sources,
}

/// The kernel's statistics on one of the agent's BPF programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    /// Time and count of its runs; `None` if the kernel does not measure them.
    pub runs: Option<(Duration, u64)>,
    /// Runs that the kernel skipped because the BPF program was already running (recursion misses).
    pub missed: Option<u64>,
}

/// Counts of failed, dropped and rejected exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Attempts that failed.
    pub failed: u64,
    /// Collections dropped because a newer one was ready before they were exported.
    pub dropped: u64,
    /// Data points that the receiver rejected.
    pub rejected: u64,
    /// Log records of exits that were not exported; `None` if there are no exit events.
    pub dropped_exits: Option<u64>,
}

/// Makes reports, and keeps their state from one collection to the next.
#[derive(Debug)]
pub struct Reporter {
    /// When the agent started, by the monotonic clock.
    began: Instant,
    patterns: Vec<Arc<str>>,
    accumulator: Accumulator,
    selection: Option<SeriesSelection>,
}

impl Reporter {
    /// For the groups of these patterns. `max_series_processes` is the most processes with series of their own; `None`
    /// for no such series.
    pub fn new(started: SystemTime, patterns: Vec<String>, max_series_processes: Option<usize>) -> Self {
        Self {
            began: Instant::now(),
            accumulator: Accumulator::new(started, patterns.len()),
            patterns: patterns.into_iter().map(Arc::from).collect(),
            selection: max_series_processes.map(SeriesSelection::new),
        }
    }

    /// Adds a sample, and makes the report of it. `was_exported` is whether the report before it was exported.
    pub fn report(
        &mut self,
        sample: &Sample,
        machine: Machine,
        mut agent: AgentReport,
        was_exported: bool,
    ) -> Report {
        self.accumulator.record(sample, was_exported);
        if sample.at < self.accumulator.started() {
            self.accumulator.started_at(sample.at.checked_sub(self.began.elapsed()).unwrap_or(sample.at));
        }
        let moment = Moment {
            began_ticks: sample.began_ticks,
            elapsed: self.accumulator.elapsed(),
            machine,
            has_block_io: agent.sources.block_io != Source::None,
            is_blind: sample.missing_values.hides_processes(),
        };
        let own = self.selection.as_mut().map(|selection| selection.choose(sample, &self.accumulator));
        let processes = own.map(|mut own| {
            own.sort_unstable_by_key(|own| own.process.identity);
            own
        });
        agent.series_overflow = processes.as_ref().map(|own| (sample.processes.len() - own.len()) as u64);
        let groups = self.patterns.iter().enumerate().map(|(group, pattern)| {
            let account = self.accumulator.group(group);
            let of_group = sample.processes.iter().filter(move |process| process.group == group);
            let overflow = self.selection.as_ref().zip(processes.as_ref()).map(|(selection, own)| {
                let has_series = |process: &ProcessSample| {
                    own.binary_search_by_key(&process.identity, |own| own.process.identity).is_ok()
                };
                let overflow = of_group.clone().filter(|process| !has_series(process));
                let rest = selection.overflow(group, account, own);
                Aggregate::of(overflow, &rest, &moment)
            });
            GroupReport {
                name: Arc::clone(pattern),
                values: Aggregate::of(of_group, &account, &moment),
                churn: self.accumulator.churn(group).cloned().unwrap_or_default(),
                overflow: overflow.filter(|overflow| !overflow.is_nothing()),
            }
        });
        let groups: Vec<GroupReport> = groups.collect();
        let all = (0..self.patterns.len()).map(|group| self.accumulator.group(group));
        let all = all.fold(Account::default(), |all, group| all.plus(&group));
        Report {
            started: self.accumulator.started(),
            at: sample.at,
            all: Aggregate::of(sample.processes.iter(), &all, &moment),
            groups,
            processes: processes.map(|own| {
                let single = |own: crate::metrics::cardinality::Selected<'_>| ProcessReport {
                    group: own.process.group,
                    pid: own.process.identity.pid,
                    executable: own.process.executable.clone().unwrap_or_else(|| own.process.name.clone()),
                    attributes: own.process.attributes.clone(),
                    created: own.process.started,
                    since: own.since,
                    values: Aggregate::of(std::iter::once(own.process), &own.account, &moment),
                };
                own.into_iter().map(single).collect()
            }),
            agent,
        }
    }
}

impl AgentReport {
    /// The values of one of the agent's metrics. Attribute values are in the catalogue's order.
    pub(crate) fn get(&self, metric: AgentMetric) -> Vec<(Vec<&'static str>, Value)> {
        let one = |value: Option<Value>| value.map(|value| (Vec::new(), value)).into_iter().collect();
        let count = |count: u64| one(Some(Value::Int(count)));
        let seconds = |time: Duration| Value::Double(time.as_secs_f64());
        match metric {
            AgentMetric::CollectionDuration => one(Some(seconds(self.collection))),
            AgentMetric::SkippedCollections => count(self.skipped_collections),
            AgentMetric::FailedCollections => count(self.failed_collections),
            AgentMetric::CpuTime => one(Some(seconds(self.cpu))),
            AgentMetric::Memory => one(self.resident.map(Value::Int)),
            AgentMetric::RunTime => self
                .programs
                .iter()
                .filter_map(|program| Some((vec![program.name], seconds(program.runs?.0))))
                .collect(),
            AgentMetric::Runs => self
                .programs
                .iter()
                .filter_map(|program| Some((vec![program.name], Value::Int(program.runs?.1))))
                .collect(),
            AgentMetric::TrackedProcesses => one(self.slots.map(|slots| Value::Int(slots.0))),
            AgentMetric::TrackedProcessLimit => one(self.slots.map(|slots| Value::Int(slots.1))),
            AgentMetric::Drops => {
                let missed = self.programs.iter().filter_map(|program| program.missed);
                let missed = missed.reduce(u64::saturating_add).map(|missed| ("recursion", missed));
                let exits = self.exports.dropped_exits.map(|dropped| ("exit_event", dropped));
                let all = self.drops.iter().copied().chain(missed).chain(exits);
                all.map(|(reason, count)| (vec![reason], Value::Int(count))).collect()
            }
            AgentMetric::DiscoveryMissed => count(self.discovery_missed),
            AgentMetric::ExportsFailed => count(self.exports.failed),
            AgentMetric::ExportsDropped => count(self.exports.dropped),
            AgentMetric::PointsRejected => count(self.exports.rejected),
            AgentMetric::SeriesOverflow => one(self.series_overflow.map(Value::Int)),
            AgentMetric::Sources => {
                let source = |values, source: Source| (vec![values, source.name()], Value::Int(1));
                vec![
                    source("context_switches", self.sources.context_switches),
                    source("block_io", self.sources.block_io),
                    source("lifecycle", self.sources.lifecycle),
                ]
            }
        }
    }
}

/// One of the agent's own metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentMetric {
    CollectionDuration,
    SkippedCollections,
    FailedCollections,
    CpuTime,
    Memory,
    /// By BPF program.
    RunTime,
    /// By BPF program.
    Runs,
    /// Slots in use.
    TrackedProcesses,
    /// All slots.
    TrackedProcessLimit,
    /// By drop reason.
    Drops,
    DiscoveryMissed,
    ExportsFailed,
    ExportsDropped,
    PointsRejected,
    SeriesOverflow,
    /// The source of each signal.
    Sources,
}
