//! All that one collection leads to, made ready for the ways out: nothing in it changes any more.

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

/// What is told of one collection.
#[derive(Clone, Debug)]
pub struct Report {
    /// When everything was 0.
    pub started: SystemTime,
    /// When the collection was.
    pub at: SystemTime,
    /// All processes together.
    pub all: Aggregate,
    /// The processes of each pattern.
    pub groups: Vec<GroupReport>,
    /// The processes one by one, where that is wanted.
    pub processes: Option<Vec<ProcessReport>>,
    /// What the agent tells of itself.
    pub agent: AgentReport,
}

/// The processes of one pattern.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// Its name, which is its pattern.
    pub name: Arc<str>,
    /// All of them.
    pub values: Aggregate,
    /// How many started and ended.
    pub churn: Churn,
    /// Those that are not told of one by one, where overflow are; `None` when there never were any.
    pub overflow: Option<Aggregate>,
}

/// One process.
#[derive(Clone, Debug)]
pub struct ProcessReport {
    /// Its group, by place.
    pub group: usize,
    /// Process id.
    pub pid: u32,
    /// File name of its executable, or its name where that could not be read.
    pub executable: Arc<str>,
    /// What describes it, where that was read.
    pub attributes: Option<Arc<ProcessAttributes>>,
    /// When it was created.
    pub created: SystemTime,
    /// Since when its totals count.
    pub since: SystemTime,
    /// Its figures.
    pub values: Aggregate,
}

/// What the agent tells of itself: its cost, and what it lost.
#[derive(Clone, Debug)]
pub struct AgentReport {
    /// How long the collection took.
    pub collection: Duration,
    /// Collections that were due while another took too long.
    pub skipped_collections: u64,
    /// Collections at which /proc could not be read.
    pub failed_collections: u64,
    /// CPU time of the agent.
    pub cpu: Duration,
    /// Resident memory of the agent, bytes.
    pub resident: Option<u64>,
    /// The programs in the kernel.
    pub programs: Vec<Program>,
    /// Slots in use, and all.
    pub slots: Option<(u64, u64)>,
    /// What could not be counted, by reason.
    pub drops: Vec<(&'static str, u64)>,
    /// What became of exports.
    pub exports: Exports,
    /// Matches that only a collection at all processes found, or found no more.
    pub discovery_missed: u64,
    /// Processes that are told of as one although overflow are told of one by one.
    pub series_overflow: Option<u64>,
    /// Where figures come from.
    pub sources: Sources,
}

/// What the kernel tells of one of our programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Time and number of its runs; `None` where the kernel does not measure it.
    pub runs: Option<(Duration, u64)>,
    /// Runs that the kernel left out as the program was already running.
    pub missed: Option<u64>,
}

/// What became of exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Attempts that failed.
    pub failed: u64,
    /// Collections that were not exported, as a newer one was there before.
    pub dropped: u64,
    /// Points that the receiver did not accept.
    pub rejected: u64,
    /// Log records of exits that were never sent; `None` where none are made.
    pub dropped_exits: Option<u64>,
}

/// Keeps what reports have in common, from one collection to the next.
#[derive(Debug)]
pub struct Reporter {
    /// When the agent started, by a clock that nobody sets.
    began: Instant,
    patterns: Vec<Arc<str>>,
    accumulator: Accumulator,
    selection: Option<SeriesSelection>,
}

impl Reporter {
    /// For the processes of these patterns, since the agent's start; at most `listed` of them one by one.
    pub fn new(started: SystemTime, patterns: Vec<String>, listed: Option<usize>) -> Self {
        Self {
            began: Instant::now(),
            accumulator: Accumulator::new(started, patterns.len()),
            patterns: patterns.into_iter().map(Arc::from).collect(),
            selection: listed.map(SeriesSelection::new),
        }
    }

    /// Takes in a collection, and makes the report of it.
    pub fn report(&mut self, sample: &Sample, machine: Machine, mut agent: AgentReport) -> Report {
        self.accumulator.record(sample);
        if sample.at < self.accumulator.started() {
            self.accumulator.started_at(sample.at.checked_sub(self.began.elapsed()).unwrap_or(sample.at));
        }
        let moment = Moment {
            began_ticks: sample.began_ticks,
            elapsed: self.accumulator.elapsed(),
            machine,
            has_block_io: agent.sources.block_io != Source::None,
        };
        let own = self.selection.as_mut().map(|selection| selection.choose(sample, &self.accumulator));
        let processes = own.map(|mut own| {
            own.sort_unstable_by_key(|own| own.process.identity);
            own
        });
        agent.series_overflow = processes.as_ref().map(|own| (sample.processes.len() - own.len()) as u64);
        let groups = self.patterns.iter().enumerate().map(|(place, pattern)| {
            let account = self.accumulator.group(place);
            let members = sample.processes.iter().filter(move |process| process.group == place);
            let overflow = self.selection.as_ref().zip(processes.as_ref()).map(|(selection, own)| {
                let has_series = |process: &ProcessSample| {
                    own.binary_search_by_key(&process.identity, |own| own.process.identity).is_ok()
                };
                let overflow = members.clone().filter(|process| !has_series(process));
                let rest = selection.overflow(place, account, own);
                Aggregate::of(overflow, &rest, &moment)
            });
            GroupReport {
                name: Arc::clone(pattern),
                values: Aggregate::of(members, &account, &moment),
                churn: self.accumulator.churn(place).cloned().unwrap_or_default(),
                overflow: overflow.filter(|overflow| !overflow.is_nothing()),
            }
        });
        let groups: Vec<GroupReport> = groups.collect();
        let all = (0..self.patterns.len()).map(|place| self.accumulator.group(place));
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
    /// A number of its own, with the values of its attributes in the catalogue's order.
    pub(crate) fn get(&self, figure: AgentMetric) -> Vec<(Vec<&'static str>, Value)> {
        let one = |value: Option<Value>| value.map(|value| (Vec::new(), value)).into_iter().collect();
        let count = |count: u64| one(Some(Value::Int(count)));
        let seconds = |time: Duration| Value::Double(time.as_secs_f64());
        match figure {
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

/// What the agent tells of itself, a figure each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentMetric {
    /// Length of the collection.
    CollectionDuration,
    /// Collections left out.
    SkippedCollections,
    /// Looks that failed.
    FailedCollections,
    /// Its CPU time.
    CpuTime,
    /// Its memory.
    Memory,
    /// Time that its programs ran, by program.
    RunTime,
    /// How often they ran, by program.
    Runs,
    /// Slots in use.
    TrackedProcesses,
    /// All slots.
    TrackedProcessLimit,
    /// What could not be counted, by reason.
    Drops,
    /// Matches found late.
    DiscoveryMissed,
    /// Exports that failed.
    ExportsFailed,
    /// Looks never exported.
    ExportsDropped,
    /// Points not accepted.
    PointsRejected,
    /// Processes told of as one.
    SeriesOverflow,
    /// Where figures come from.
    Sources,
}
