//! Every metric that leaves the agent, once, as data: name, kind, unit, meaning, and the figures in it. README's
//! tables say the same.

use crate::{
    metrics::{
        aggregate::{
            Figure::{self, Total},
            Limit,
        },
        report::AgentMetric,
    },
    model::counters::Counter,
};

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// OpenTelemetry's semantic conventions, and `m8refsvr.` for what they have no name for.
    Otel,
    /// Those of the earlier Python plugin.
    Instana,
    /// The agent's own cost and losses, which are always sent.
    Agent,
}

/// How the numbers of a metric are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the moment.
    Gauge,
    /// A sum of the moment, which can be added up over hosts: a cumulative sum that is not monotonic.
    UpDownCounter,
    /// A total since the agent's start: a cumulative monotonic sum.
    Counter,
    /// How often values were how large since the agent's start: a cumulative histogram with explicit bounds.
    Histogram,
}

impl Kind {
    /// As in README.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::UpDownCounter => "updowncounter",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name on the wire.
    pub name: &'static str,
    /// Whose name it is.
    pub vocabulary: Vocabulary,
    /// Its kind.
    pub kind: Kind,
    /// Its unit in UCUM.
    pub unit: &'static str,
    /// What it means, for people.
    pub description: &'static str,
    /// Its numbers.
    pub points: Points,
}

/// In what its numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Whole.
    Int,
    /// With a fraction.
    Float,
}

impl Metric {
    /// In what its numbers are: all in the same.
    pub fn number(&self) -> Number {
        match self.points {
            Points::Each(points) | Points::Group(points) => {
                let is_float = points.iter().any(|point| point.figure.is_float());
                if is_float { Number::Float } else { Number::Int }
            }
            Points::Churn(_) => Number::Int,
            Points::Agent(figure, _) => match figure {
                AgentMetric::CollectionDuration | AgentMetric::CpuTime | AgentMetric::RunTime => {
                    Number::Float
                }
                _ => Number::Int,
            },
        }
    }
}

/// The numbers of a metric.
#[derive(Clone, Copy, Debug)]
pub enum Points {
    /// One for each group, or with `--per-process` for each process.
    Each(&'static [Point]),
    /// One for each group, or in the earlier plugin's names for all processes together.
    Group(&'static [Point]),
    /// How processes come and go, for each group.
    Churn(ChurnMetric),
    /// The agent's own, with attributes of these names.
    Agent(AgentMetric, &'static [&'static str]),
}

/// How processes come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChurnMetric {
    /// Processes that began to match.
    Starts,
    /// Those of them that took the place of one that had ended.
    Restarts,
    /// Processes that ended, by how they did.
    Exits,
}

/// One of the numbers of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The attribute that tells it from the metric's other numbers.
    pub attribute: Option<(&'static str, &'static str)>,
    /// What it is.
    pub figure: Figure,
}

const MODE: &str = "cpu.mode";
const DIRECTION: &str = "disk.io.direction";
const SWITCH: &str = "process.context_switch.type";
const FAULT: &str = "system.paging.fault.type";

const fn plain(figure: Figure) -> [Point; 1] {
    [Point { attribute: None, figure }]
}

const fn pair(name: &'static str, one: (&'static str, Figure), other: (&'static str, Figure)) -> [Point; 2] {
    [
        Point { attribute: Some((name, one.0)), figure: one.1 },
        Point { attribute: Some((name, other.0)), figure: other.1 },
    ]
}

const fn used(name: &'static str, limit: Limit) -> Point {
    Point { attribute: Some(("m8refsvr.limit", name)), figure: Figure::Used(limit) }
}

macro_rules! catalogue {
    ($($vocabulary:ident $kind:ident $name:literal [$unit:literal] $description:literal $of:ident($($points:expr),+);)+) => {
        /// All metrics, in the order in which README names them.
        pub const CATALOGUE: &[Metric] = &[$(
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

catalogue! {
    Otel Counter "process.cpu.time" ["s"]
        "CPU time"
        Each(&pair(MODE, ("user", Total(Counter::CpuUser)), ("system", Total(Counter::CpuSystem))));
    Otel Gauge "process.cpu.utilization" ["1"]
        "CPU time since the previous collection, as a fraction of all CPUs of the machine"
        Each(&pair(MODE, ("user", Figure::CpuUserShare), ("system", Figure::CpuSystemShare)));
    Otel UpDownCounter "process.memory.usage" ["By"]
        "Resident memory"
        Each(&plain(Figure::Resident));
    Otel UpDownCounter "process.memory.virtual" ["By"]
        "Address space"
        Each(&plain(Figure::Virtual));
    Otel Counter "process.disk.io" ["By"]
        "Storage I/O as /proc/PID/io accounts it: bytes fetched, and bytes of pages made dirty"
        Each(&pair(DIRECTION, ("read", Total(Counter::StorageRead)), ("write", Total(Counter::StorageWrite))));
    Otel UpDownCounter "process.thread.count" ["{thread}"]
        "Living threads"
        Each(&plain(Figure::Threads));
    Otel UpDownCounter "process.unix.file_descriptor.count" ["{file_descriptor}"]
        "Open file descriptors of all kinds"
        Each(&plain(Figure::OpenFiles));
    Otel Counter "process.context_switches" ["{context_switch}"]
        "Context switches of all threads, exited ones included"
        Each(&pair(SWITCH, ("voluntary", Total(Counter::Voluntary)), ("involuntary", Total(Counter::Involuntary))));
    Otel Counter "process.paging.faults" ["{fault}"]
        "Page faults, with input (major) and without (minor)"
        Each(&pair(FAULT, ("major", Total(Counter::MajorFaults)), ("minor", Total(Counter::MinorFaults))));
    Otel Gauge "process.uptime" ["s"]
        "Time since the process started, the oldest of several"
        Each(&plain(Figure::Uptime));
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
        Group(&plain(Figure::Processes));
    Otel Counter "m8refsvr.process.starts" ["{process}"]
        "Processes that began to match: they started, or took a matching name"
        Churn(ChurnMetric::Starts);
    Otel Counter "m8refsvr.process.exits" ["{process}"]
        "Processes that exited while they matched; code and signal are absent where they are 0"
        Churn(ChurnMetric::Exits);
    Otel Counter "m8refsvr.process.restarts" ["{process}"]
        "Processes that started after another one had exited"
        Churn(ChurnMetric::Restarts);
    Otel Counter "m8refsvr.block.io" ["By"]
        "Bytes in requests that the processes made to block devices"
        Each(&pair(DIRECTION, ("read", Total(Counter::BlockRead)), ("write", Total(Counter::BlockWrite))));
    Otel Counter "m8refsvr.block.operations" ["{operation}"]
        "Requests that the processes made to block devices"
        Each(&pair(DIRECTION, ("read", Total(Counter::BlockReads)), ("write", Total(Counter::BlockWrites))));
    Otel Gauge "process.memory.utilization" ["1"]
        "Resident memory as a fraction of the machine's, from 0 to 1"
        Each(&plain(Figure::MemoryShare));
    Otel Gauge "m8refsvr.process.threads.min" ["{thread}"]
        "Threads of the process that has the fewest"
        Group(&plain(Figure::ThreadsMin));
    Otel Gauge "m8refsvr.process.threads.max" ["{thread}"]
        "Threads of the process that has the most"
        Group(&plain(Figure::ThreadsMax));
    Otel Gauge "m8refsvr.process.threads.mean" ["{thread}"]
        "Threads per process"
        Group(&plain(Figure::ThreadsMean));

    Instana Gauge "cpu_usage" ["%"]
        "CPU time since the previous collection; 100 is one CPU busy"
        Group(&plain(Figure::CpuPercent));
    Instana Gauge "memory_usage" ["%"]
        "Resident memory in percent of the machine's"
        Group(&plain(Figure::MemoryPercent));
    Instana Gauge "memory_rss_total" ["By"]
        "Resident memory"
        Group(&plain(Figure::Resident));
    Instana Gauge "memory_vms_total" ["By"]
        "Address space"
        Group(&plain(Figure::Virtual));
    Instana Gauge "max_threads_per_process" ["{thread}"]
        "Threads of the process that has the most"
        Group(&plain(Figure::ThreadsMax));
    Instana Gauge "min_threads_per_process" ["{thread}"]
        "Threads of the process that has the fewest"
        Group(&plain(Figure::ThreadsMin));
    Instana Gauge "avg_threads_per_process" ["{thread}"]
        "Threads per process"
        Group(&plain(Figure::ThreadsMean));
    Instana UpDownCounter "process_count" ["{process}"]
        "Tracked processes"
        Group(&plain(Figure::Processes));
    Instana UpDownCounter "thread_count" ["{thread}"]
        "Living threads"
        Group(&plain(Figure::Threads));
    Instana UpDownCounter "open_file_descriptors" ["{file_descriptor}"]
        "Open file descriptors of all kinds"
        Group(&plain(Figure::OpenFiles));
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

    /// The rows of README's table for a vocabulary.
    fn rows(vocabulary: Vocabulary) -> String {
        let metrics = CATALOGUE.iter().filter(|metric| metric.vocabulary == vocabulary);
        metrics.map(row).collect()
    }

    fn row(metric: &Metric) -> String {
        let Metric { name, kind, unit, description, .. } = metric;
        let attributes = match metric.points {
            Points::Each(points) | Points::Group(points) => {
                let named = points.iter().filter_map(|point| point.attribute);
                let values: Vec<_> = named.clone().map(|(_, value)| value).collect();
                named.take(1).map(|(name, _)| format!("`{name}`: {}", values.join(", "))).collect()
            }
            Points::Churn(ChurnMetric::Exits) => {
                "`m8refsvr.exit.reason`: normal, error, signal, oom, unknown; `process.exit.code`; `m8refsvr.exit.signal`".into()
            }
            Points::Churn(_) => String::new(),
            Points::Agent(_, names) => {
                names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            }
        };
        let each = match metric.points {
            Points::Each(_) => "process",
            _ => "group",
        };
        let start = format!("| `{name}` | {} | `{unit}` |", kind.name());
        match metric.vocabulary {
            Vocabulary::Otel => format!("{start} {each} | {attributes} | {description} |\n"),
            Vocabulary::Instana => format!("{start} {description} |\n"),
            Vocabulary::Agent => format!("{start} {attributes} | {description} |\n"),
        }
    }

    #[test]
    fn readme_says_the_same() {
        let readme = include_str!("../../../README.md");
        for vocabulary in [Vocabulary::Otel, Vocabulary::Instana, Vocabulary::Agent] {
            let rows = rows(vocabulary);
            assert!(readme.contains(&format!("|\n{rows}\n")), "README's table should be:\n{rows}");
        }
    }

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
                    let is_total = matches!(point.figure, Total(_));
                    assert_eq!(metric.kind == Kind::Counter, is_total, "{}", metric.name);
                }
            }
        }
    }
}
