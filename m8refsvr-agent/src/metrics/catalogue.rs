//! Every metric that is exported, once, as data: name, kind, unit, description and data points. The tables in README
//! are generated from it.

use crate::{
    metrics::{
        aggregate::Statistic::{self, Total},
        report::AgentMetric,
    },
    model::{counter_table::with_counters, counters::Counter, limit_utilization::Limit},
};

/// The set of names that a metric belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// OpenTelemetry's semantic conventions, and `m8refsvr.` where they have no name.
    Otel,
    /// Names of the earlier Python plugin.
    Instana,
    /// The agent's own cost and drops, which are always exported.
    Agent,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A current value.
    Gauge,
    /// A current value that can be summed over hosts: a cumulative sum that is not monotonic.
    UpDownCounter,
    /// A total since the agent's start: a cumulative monotonic sum.
    Counter,
    /// A distribution of values since the agent's start: a cumulative histogram with explicit bounds.
    Histogram,
}

impl Kind {
    /// As in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::UpDownCounter => "updowncounter",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub vocabulary: Vocabulary,
    pub kind: Kind,
    /// In UCUM.
    pub unit: &'static str,
    pub description: &'static str,
    pub points: Points,
}

/// The type of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// An integer.
    Int,
    /// A floating-point number.
    Float,
}

impl Metric {
    /// The type of its values, which all its data points share.
    pub fn number(&self) -> Number {
        match self.points {
            Points::Each(points) | Points::Group(points) => {
                let is_float = points.iter().any(|point| point.statistic.is_float());
                if is_float { Number::Float } else { Number::Int }
            }
            Points::Churn(_) => Number::Int,
            Points::Agent(statistic, _) => match statistic {
                AgentMetric::CollectionDuration | AgentMetric::CpuTime | AgentMetric::RunTime => {
                    Number::Float
                }
                _ => Number::Int,
            },
        }
    }
}

/// The data points of a metric.
#[derive(Clone, Copy, Debug)]
pub enum Points {
    /// One set for each group, or with `--per-process` for each process.
    Each(&'static [Point]),
    /// One set for each group. Metrics of the earlier plugin have one for all processes together.
    Group(&'static [Point]),
    /// Starts and exits of each group.
    Churn(ChurnMetric),
    /// The agent's own values, with these attribute names.
    Agent(AgentMetric, &'static [&'static str]),
}

/// Counts of starts and exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChurnMetric {
    /// Processes that started and match.
    Starts,
    /// Starts that followed the exit of another process.
    Restarts,
    /// Processes that exited, by reason.
    Exits,
    /// Processes that began to match while they ran.
    Selected,
    /// Processes that no longer match, and still run.
    Deselected,
}

/// One data point of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The attribute that sets it apart from the metric's other data points.
    pub attribute: Option<(&'static str, &'static str)>,
    pub statistic: Statistic,
}

const MODE: &str = "cpu.mode";

const fn plain(statistic: Statistic) -> [Point; 1] {
    [Point { attribute: None, statistic }]
}

const fn pair(
    name: &'static str,
    one: (&'static str, Statistic),
    other: (&'static str, Statistic),
) -> [Point; 2] {
    [
        Point { attribute: Some((name, one.0)), statistic: one.1 },
        Point { attribute: Some((name, other.0)), statistic: other.1 },
    ]
}

const fn used(name: &'static str, limit: Limit) -> Point {
    Point { attribute: Some(("m8refsvr.limit", name)), statistic: Statistic::Used(limit) }
}

macro_rules! catalogue {
    ($($vocabulary:ident $kind:ident $name:literal [$unit:literal] $description:literal $of:ident($($points:expr),+);)+) => {
        /// All metrics but those of the counter table.
        const OTHERS: &[Metric] = &[$(
            Metric {
                name: $name,
                vocabulary: Vocabulary::$vocabulary,
                kind: Kind::$kind,
                unit: $unit,
                description: $description,
                points: Points::$of($($points),+),
            },
        )+];
    };
}

macro_rules! of_counters {
    ($($metric:literal [$unit:literal] $description:literal by $attribute:literal {
        $($(#[$doc:meta])* $name:ident: $value:literal, $key:literal, $origin:ident($read:expr), $accounted:expr;)+
    })+) => {
        /// A metric for each row of the counter table.
        const COUNTERS: &[Metric] = &[$(
            Metric {
                name: $metric,
                vocabulary: Vocabulary::Otel,
                kind: Kind::Counter,
                unit: $unit,
                description: $description,
                points: Points::Each(&[$(
                    Point { attribute: Some(($attribute, $value)), statistic: Total(Counter::$name) },
                )+]),
            },
        )+];
    };
}

with_counters!(of_counters);

/// All metrics, in the order of the reference.
pub const CATALOGUE: &[Metric] = &{
    let mut all = [COUNTERS[0]; COUNTERS.len() + OTHERS.len()];
    let mut number = 1;
    while number < all.len() {
        all[number] =
            if number < COUNTERS.len() { COUNTERS[number] } else { OTHERS[number - COUNTERS.len()] };
        number += 1;
    }
    all
};

catalogue! {
    Otel Gauge "process.cpu.utilization" ["1"]
        "CPU time since the collection that was exported last, as a fraction of all CPUs of the machine"
        Each(&pair(MODE, ("user", Statistic::CpuUserShare), ("system", Statistic::CpuSystemShare)));
    Otel UpDownCounter "process.memory.usage" ["By"]
        "Resident memory; pages that processes share count in each of them, huge pages of hugetlbfs in none"
        Each(&plain(Statistic::Resident));
    Otel UpDownCounter "process.memory.virtual" ["By"]
        "Address space"
        Each(&plain(Statistic::Virtual));
    Otel UpDownCounter "process.thread.count" ["{thread}"]
        "Living threads"
        Each(&plain(Statistic::Threads));
    Otel UpDownCounter "process.unix.file_descriptor.count" ["{file_descriptor}"]
        "Open file descriptors of all kinds"
        Each(&plain(Statistic::OpenFiles));
    Otel Gauge "process.uptime" ["s"]
        "Time since the process started, the oldest of several"
        Each(&plain(Statistic::Uptime));
    Otel Gauge "m8refsvr.limit.utilization" ["1"]
        "Used fraction of a limit, of the process that is nearest to it; absent where there is no limit"
        Each(&[
            used("open_files", Limit::OpenFiles),
            used("user_processes", Limit::UserProcesses),
            used("cgroup_pids", Limit::CgroupPids),
            used("cgroup_memory", Limit::CgroupMemory),
        ]);
    Otel UpDownCounter "m8refsvr.process.count" ["{process}"]
        "Tracked processes"
        Group(&plain(Statistic::Processes));
    Otel Counter "m8refsvr.process.starts" ["{process}"]
        "Processes that started and match"
        Churn(ChurnMetric::Starts);
    Otel Counter "m8refsvr.process.exits" ["{process}"]
        "Processes that exited while they matched; log records of exits have code and signal"
        Churn(ChurnMetric::Exits);
    Otel Counter "m8refsvr.process.selected" ["{process}"]
        "Processes that began to match while they ran, as by another name"
        Churn(ChurnMetric::Selected);
    Otel Counter "m8refsvr.process.deselected" ["{process}"]
        "Processes that no longer match, and still run"
        Churn(ChurnMetric::Deselected);
    Otel Counter "m8refsvr.process.restarts" ["{process}"]
        "Starts after the exit of another process; children of the group's processes are not counted, nor are their exits"
        Churn(ChurnMetric::Restarts);
    Otel Gauge "process.memory.utilization" ["1"]
        "Resident memory as a fraction of the machine's; can exceed 1, as shared pages count in each process"
        Each(&plain(Statistic::MemoryShare));
    Otel Gauge "m8refsvr.process.threads.min" ["{thread}"]
        "Threads of the process that has the fewest"
        Group(&plain(Statistic::ThreadsMin));
    Otel Gauge "m8refsvr.process.threads.max" ["{thread}"]
        "Threads of the process that has the most"
        Group(&plain(Statistic::ThreadsMax));
    Otel Gauge "m8refsvr.process.threads.mean" ["{thread}"]
        "Threads per process"
        Group(&plain(Statistic::ThreadsMean));

    Instana Gauge "cpu_usage" ["%"]
        "CPU time since the collection that was exported last; 100 is one CPU busy"
        Group(&plain(Statistic::CpuPercent));
    Instana Gauge "memory_usage" ["%"]
        "Resident memory in percent of the machine's"
        Group(&plain(Statistic::MemoryPercent));
    Instana Gauge "memory_rss_total" ["By"]
        "Resident memory"
        Group(&plain(Statistic::Resident));
    Instana Gauge "memory_vms_total" ["By"]
        "Address space"
        Group(&plain(Statistic::Virtual));
    Instana Gauge "max_threads_per_process" ["{thread}"]
        "Threads of the process that has the most"
        Group(&plain(Statistic::ThreadsMax));
    Instana Gauge "min_threads_per_process" ["{thread}"]
        "Threads of the process that has the fewest"
        Group(&plain(Statistic::ThreadsMin));
    Instana Gauge "avg_threads_per_process" ["{thread}"]
        "Threads per process"
        Group(&plain(Statistic::ThreadsMean));
    Instana UpDownCounter "process_count" ["{process}"]
        "Tracked processes"
        Group(&plain(Statistic::Processes));
    Instana UpDownCounter "thread_count" ["{thread}"]
        "Living threads"
        Group(&plain(Statistic::Threads));
    Instana UpDownCounter "open_file_descriptors" ["{file_descriptor}"]
        "Open file descriptors of all kinds"
        Group(&plain(Statistic::OpenFiles));
    Instana Counter "disk_read_bytes" ["By"]
        "Bytes fetched from storage"
        Group(&plain(Total(Counter::StorageRead)));
    Instana Counter "disk_write_bytes" ["By"]
        "Bytes of pages made dirty"
        Group(&plain(Total(Counter::StorageWrite)));
    Instana Counter "block_read_bytes" ["By"]
        "Bytes in read requests that the processes made to block devices"
        Group(&plain(Total(Counter::BlockRead)));
    Instana Counter "block_write_bytes" ["By"]
        "Bytes in write requests that the processes made to block devices"
        Group(&plain(Total(Counter::BlockWrite)));
    Instana Counter "block_read_operations" ["{operation}"]
        "Read requests that the processes made to block devices"
        Group(&plain(Total(Counter::BlockReads)));
    Instana Counter "block_write_operations" ["{operation}"]
        "Write requests that the processes made to block devices"
        Group(&plain(Total(Counter::BlockWrites)));
    Instana Counter "voluntary_ctx_switches" ["{context_switch}"]
        "Context switches in which a thread began to wait"
        Group(&plain(Total(Counter::Voluntary)));
    Instana Counter "nonvoluntary_ctx_switches" ["{context_switch}"]
        "Context switches in which a thread was preempted or yielded"
        Group(&plain(Total(Counter::Involuntary)));
    Instana Counter "cpu_user_time_total" ["s"]
        "CPU time in user mode"
        Group(&plain(Total(Counter::CpuUser)));
    Instana Counter "cpu_system_time_total" ["s"]
        "CPU time in the kernel"
        Group(&plain(Total(Counter::CpuSystem)));

    Agent Histogram "m8refsvr.agent.collection.duration" ["s"]
        "Duration of a collection"
        Agent(AgentMetric::CollectionDuration, &[]);
    Agent Counter "m8refsvr.agent.collection.skipped" ["{collection}"]
        "Collections skipped because an earlier one took longer than the interval"
        Agent(AgentMetric::SkippedCollections, &[]);
    Agent Counter "m8refsvr.agent.collection.failed" ["{collection}"]
        "Collections that failed because /proc could not be read"
        Agent(AgentMetric::FailedCollections, &[]);
    Agent Counter "m8refsvr.agent.cpu.time" ["s"]
        "CPU time of the agent, without its BPF programs"
        Agent(AgentMetric::CpuTime, &[]);
    Agent UpDownCounter "m8refsvr.agent.memory.usage" ["By"]
        "Resident memory of the agent"
        Agent(AgentMetric::Memory, &[]);
    Agent Counter "m8refsvr.agent.bpf.run.time" ["s"]
        "Run time of a BPF program; needs kernel.bpf_stats_enabled"
        Agent(AgentMetric::RunTime, &["m8refsvr.bpf.program"]);
    Agent Counter "m8refsvr.agent.bpf.run.count" ["{run}"]
        "Runs of a BPF program; needs kernel.bpf_stats_enabled"
        Agent(AgentMetric::Runs, &["m8refsvr.bpf.program"]);
    Agent UpDownCounter "m8refsvr.agent.tracked_process.count" ["{process}"]
        "Processes that the BPF programs count for"
        Agent(AgentMetric::TrackedProcesses, &[]);
    Agent UpDownCounter "m8refsvr.agent.tracked_process.limit" ["{process}"]
        "Processes that the BPF programs can count for at once (--max-tracked-processes)"
        Agent(AgentMetric::TrackedProcessLimit, &[]);
    Agent Counter "m8refsvr.agent.drops" ["{drop}"]
        "What could not be counted: processes without room in the maps, events that did not fit the ring buffer, runs of BPF programs that the kernel skipped, exit events that were not exported"
        Agent(AgentMetric::Drops, &["m8refsvr.drop.reason"]);
    Agent Counter "m8refsvr.agent.discovery.missed" ["{process}"]
        "Processes that only a full scan of /proc discovered or deselected: the BPF programs had missed the change"
        Agent(AgentMetric::DiscoveryMissed, &[]);
    Agent Counter "m8refsvr.agent.export.failed" ["{export}"]
        "Exports that failed"
        Agent(AgentMetric::ExportsFailed, &[]);
    Agent Counter "m8refsvr.agent.export.dropped" ["{collection}"]
        "Collections dropped because a newer one was ready before they were exported"
        Agent(AgentMetric::ExportsDropped, &[]);
    Agent Counter "m8refsvr.agent.export.rejected_data_points" ["{data_point}"]
        "Data points that the receiver rejected"
        Agent(AgentMetric::PointsRejected, &[]);
    Agent UpDownCounter "m8refsvr.agent.series.overflow" ["{process}"]
        "With --per-process: processes beyond --max-series-processes, summed in the overflow series of their group"
        Agent(AgentMetric::SeriesOverflow, &[]);
    Agent Gauge "m8refsvr.agent.source" ["1"]
        "1 for the source of each signal that /proc alone can't give"
        Agent(AgentMetric::Sources, &["m8refsvr.signal", "m8refsvr.source"]);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_well_formed() {
        let names: HashSet<_> = CATALOGUE.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        for metric in CATALOGUE {
            let is_name =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte);
            assert!(metric.name.bytes().all(is_name) && metric.name.len() < 64, "{}", metric.name);
            assert!(!metric.unit.is_empty() && !metric.description.is_empty(), "{}", metric.name);
            let has_namespace = metric.name.starts_with("process.") || metric.name.starts_with("m8refsvr.");
            assert_eq!(has_namespace, metric.vocabulary != Vocabulary::Instana, "{}", metric.name);
        }
    }

    #[test]
    fn no_name_is_the_namespace_of_another() {
        for metric in CATALOGUE {
            let within = format!("{}.", metric.name);
            assert!(!CATALOGUE.iter().any(|other| other.name.starts_with(&within)), "{}", metric.name);
        }
    }

    #[test]
    fn the_earlier_plugins_names_have_no_attributes() {
        for metric in CATALOGUE.iter().filter(|metric| metric.vocabulary == Vocabulary::Instana) {
            let Points::Group([point]) = metric.points else { panic!("{}", metric.name) };
            assert_eq!(point.attribute, None, "{}", metric.name);
        }
    }

    #[test]
    fn what_only_grows_is_a_counter_and_nothing_else_is() {
        for metric in CATALOGUE {
            if let Points::Each(points) | Points::Group(points) = metric.points {
                for point in points {
                    let is_total = matches!(point.statistic, Total(_));
                    assert_eq!(metric.kind == Kind::Counter, is_total, "{}", metric.name);
                }
            }
        }
    }
}
