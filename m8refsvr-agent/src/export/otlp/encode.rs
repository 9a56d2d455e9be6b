//! From a report and the catalogue to the points of OTLP. A pure function; knows nothing of the network.

use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};

use super::{
    compression::{Compression, LARGE, Message},
    point::{Attributes, Point},
    request::Requests,
};
use crate::{
    catalogue::{self, CATALOGUE, Kind, Points, TurnoverFigure, Vocabulary},
    figures::{Figure, Figures, Value},
    report::{Report, Single},
    turnover::Turnover,
};

/// Which names are sent, besides the agent's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Those of the semantic conventions.
    pub otel: bool,
    /// Those of the earlier plugin.
    pub instana: bool,
}

impl Names {
    fn has(self, vocabulary: Vocabulary) -> bool {
        match vocabulary {
            Vocabulary::Otel => self.otel,
            Vocabulary::Instana => self.instana,
            Vocabulary::Agent => true,
        }
    }
}

/// All metrics of a report that have a point, as `ExportMetricsServiceRequest`s; none has more bytes than `limit` before
/// it is compressed.
pub fn requests(
    report: &Report,
    names: Names,
    resource: &Resource,
    compression: Compression,
    limit: usize,
) -> Vec<Message> {
    let scope = InstrumentationScope {
        name: "m8refsvr".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let mut requests = Requests::new(resource, &scope, compression, limit);
    let series = Series::of(report);
    for metric in CATALOGUE.iter().filter(|metric| names.has(metric.vocabulary)) {
        requests.metric(metric);
        points(metric, report, &series, &mut requests);
    }
    requests.end()
}

/// The sets of processes that have series of their own, with what names them.
struct Series<'a> {
    all: One<'a>,
    groups: Vec<One<'a>>,
    each: Vec<One<'a>>,
    /// Of all of them, one behind the other: a piece of memory for each would stay.
    attributes: Vec<u8>,
}

/// Figures, what names them, and since when their totals count.
struct One<'a> {
    /// Where in those of all.
    attributes: Range<usize>,
    since: u64,
    figures: &'a Figures,
}

impl<'a> Series<'a> {
    fn of(report: &'a Report) -> Self {
        let started = nanoseconds(report.started);
        let with_pattern = |attributes: Attributes, group: usize| {
            let pattern = report.groups.get(group).and_then(|group| group.pattern.as_deref());
            pattern.into_iter().fold(attributes, |those, pattern| those.text("m8refsvr.group", pattern))
        };
        let of_group = |(place, figures): (usize, &'a Figures)| {
            (with_pattern(Attributes::default(), place), started, figures)
        };
        let groups = || report.groups.iter().enumerate().map(|(place, group)| (place, &group.figures));
        let of_process = |single: &'a Single| {
            let own = Attributes::default()
                .number("process.pid", single.pid.into())
                .text("process.creation.time", &humantime::format_rfc3339_millis(single.created).to_string())
                .text("process.executable.name", &single.executable);
            (with_pattern(own, single.group), nanoseconds(single.since), &single.figures)
        };
        let mut attributes = Vec::with_capacity(LARGE);
        let mut one = |(own, since, figures): (Attributes, u64, &'a Figures)| {
            let start = attributes.len();
            attributes.extend_from_slice(own.bytes());
            One { attributes: start..attributes.len(), since, figures }
        };
        let each = match &report.processes {
            Some(processes) => {
                let others = report.groups.iter().enumerate();
                let others = others.filter_map(|(place, group)| Some((place, group.others.as_ref()?)));
                processes.iter().map(of_process).chain(others.map(of_group)).map(&mut one).collect()
            }
            None => groups().map(of_group).map(&mut one).collect(),
        };
        Self {
            all: one((Attributes::default(), started, &report.all)),
            groups: groups().map(of_group).map(&mut one).collect(),
            each,
            attributes,
        }
    }

    fn attributes(&self, one: &One<'_>) -> &[u8] {
        &self.attributes[one.attributes.clone()]
    }
}

/// Tells the points of a metric.
fn points(metric: &catalogue::Metric, report: &Report, series: &Series<'_>, requests: &mut Requests) {
    let at = nanoseconds(report.at);
    let started = nanoseconds(report.started);
    let mut tell = |one: &[u8], own: &Attributes, since: u64, value: Value| {
        // What is of the moment has no start. The clock may have been set back since.
        let since = if metric.kind == Kind::Gauge { 0 } else { since.min(at) };
        requests.point(&Point { attributes: [one, own.bytes()], since, at, value });
    };
    match metric.points {
        Points::Each(points) | Points::Group(points) => {
            let ones = match metric.points {
                // The earlier plugin knew neither groups nor processes.
                _ if metric.vocabulary == Vocabulary::Instana => std::slice::from_ref(&series.all),
                Points::Each(_) => &series.each,
                _ => &series.groups,
            };
            let own = |point: &catalogue::Point| {
                let own = point.attribute.iter();
                (own.fold(Attributes::default(), |own, (name, value)| own.text(name, value)), point.figure)
            };
            let points: Vec<(Attributes, Figure)> = points.iter().map(own).collect();
            for one in ones {
                let attributes = series.attributes(one);
                for (own, figure) in &points {
                    if let Some(value) = one.figures.get(*figure) {
                        tell(attributes, own, one.since, value);
                    }
                }
            }
        }
        Points::Turnover(figure) => {
            for (one, group) in series.groups.iter().zip(&report.groups) {
                for (own, count) in turnover(figure, &group.turnover) {
                    tell(series.attributes(one), &own, started, Value::Int(count));
                }
            }
        }
        Points::Agent(figure, names) => {
            for (values, value) in report.agent.get(figure) {
                let own = names.iter().zip(values);
                let own = own.fold(Attributes::default(), |own, (name, value)| own.text(name, value));
                tell(&[], &own, started, value);
            }
        }
    }
}

/// The numbers of how processes come and go, with what tells them apart.
fn turnover(figure: TurnoverFigure, turnover: &Turnover) -> Vec<(Attributes, u64)> {
    match figure {
        TurnoverFigure::Starts => vec![(Attributes::default(), turnover.starts)],
        TurnoverFigure::Restarts => vec![(Attributes::default(), turnover.restarts)],
        TurnoverFigure::Exits => turnover
            .exits()
            .map(|(exit, count)| {
                let reason = Attributes::default().text("exit.reason", exit.reason());
                let numbers = [("exit.code", exit.code()), ("exit.signal", exit.signal())];
                let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name, number?)));
                (numbers.fold(reason, |own, (name, number)| own.number(name, number.into())), count)
            })
            .collect(),
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use opentelemetry_proto::tonic::{
        common::v1::{KeyValue, any_value},
        metrics::v1::{AggregationTemporality, Metric, NumberDataPoint, metric::Data, number_data_point},
    };

    use super::*;
    use crate::{
        export::otlp::{
            LIMIT,
            request::tests::{decoded, points_of},
        },
        figures::Machine,
        report::{Agent, Exports, Reporter},
        sample::{
            Sample,
            fixtures::{process, sample},
        },
        source::{Source, Sources},
    };

    const OTEL: Names = Names { otel: true, instana: false };
    const BOTH: Names = Names { otel: true, instana: true };

    fn agent() -> Agent {
        Agent {
            look: Duration::from_millis(2),
            skipped_looks: 0,
            failed_looks: 0,
            cpu: Duration::from_millis(30),
            resident: None,
            programs: Vec::new(),
            slots: None,
            losses: Vec::new(),
            exports: Exports::default(),
            corrections: 0,
            unlisted: None,
            sources: Sources {
                context_switches: Source::Procfs,
                block_io: Source::None,
                lifecycle: Source::Procfs,
            },
        }
    }

    /// The report of the last of some looks, a second apart.
    fn report(patterns: &[&str], listed: Option<usize>, samples: Vec<Sample>) -> Report {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let mut reporter = Reporter::new(UNIX_EPOCH + Duration::from_secs(1), patterns, listed);
        let machine = Machine { memory_bytes: Some(1 << 30), cpus: Some(4) };
        let began = std::time::Instant::now();
        let reports = (0..).zip(samples).map(|(second, mut sample)| {
            sample.began = began + Duration::from_secs(second);
            reporter.report(&sample, machine, agent())
        });
        reports.last().unwrap()
    }

    /// What receivers read.
    fn metrics(report: &Report, names: Names) -> Vec<Metric> {
        let requests = requests(report, names, &Resource::default(), Compression::Gzip, LIMIT);
        requests.iter().flat_map(decoded).collect()
    }

    /// The values of a metric by their attributes, as text.
    fn values(report: &Report, names: Names, name: &str) -> BTreeMap<String, f64> {
        let metrics = metrics(report, names);
        let metric = metrics.iter().find(|metric| metric.name == name);
        let points = metric.cloned().map(points_of).unwrap_or_default();
        let attribute = |attribute: KeyValue| match attribute.value.unwrap().value {
            Some(any_value::Value::StringValue(text)) => format!("{}={text}", attribute.key),
            Some(any_value::Value::IntValue(number)) => format!("{}={number}", attribute.key),
            other => panic!("{other:?}"),
        };
        let value = |value| match value {
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            Some(number_data_point::Value::AsDouble(value)) => value,
            None => panic!("no value"),
        };
        points
            .into_iter()
            .map(|point| {
                let attributes: Vec<String> = point.attributes.into_iter().map(attribute).collect();
                (attributes.join(" "), value(point.value))
            })
            .collect()
    }

    fn map<const N: usize>(pairs: [(&str, f64); N]) -> BTreeMap<String, f64> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn figures_are_summed_and_have_no_group_where_there_is_one_pattern() {
        let looks = vec![
            sample(100, [process(1, 50, 5), process(2, 50, 5)]),
            sample(200, [process(1, 50, 6), process(2, 50, 7)]),
        ];
        let report = report(&["M8RefSvr"], None, looks);
        let cpu = values(&report, BOTH, "process.cpu.time");
        assert_eq!(cpu, map([("cpu.mode=user", 3.0), ("cpu.mode=system", 0.0)]));
        let utilization = values(&report, BOTH, "process.cpu.utilization");
        assert_eq!(utilization, map([("cpu.mode=user", 0.75), ("cpu.mode=system", 0.0)]));
        assert_eq!(values(&report, BOTH, "cpu_usage"), map([("", 300.0)]));
        assert_eq!(values(&report, BOTH, "memory_usage"), map([("", 0.1953125)]));
        assert_eq!(values(&report, BOTH, "m8refsvr.process.count"), map([("", 2.0)]));
        assert_eq!(values(&report, BOTH, "m8refsvr.process.threads.mean"), map([("", 2.5)]));
        assert_eq!(values(&report, BOTH, "process.uptime"), map([("", 1.5)]));
    }

    #[test]
    fn several_patterns_have_series_of_their_own_but_not_in_the_earlier_names() {
        let mut other = process(2, 50, 0);
        other.group = 1;
        let report = report(&["a", "b"], None, vec![sample(100, [process(1, 50, 0), other])]);
        let expected = map([("m8refsvr.group=a", 2.0), ("m8refsvr.group=b", 3.0)]);
        assert_eq!(values(&report, BOTH, "process.thread.count"), expected);
        assert_eq!(values(&report, BOTH, "thread_count"), map([("", 5.0)]));
    }

    #[test]
    fn with_per_process_the_largest_are_named_and_the_rest_is_one() {
        let processes = [(1, 9), (2, 1), (3, 8), (4, 10), (5, 1)];
        let processes = processes.map(|(pid, cpu)| process(pid, 60, cpu));
        let report = report(&["a"], Some(3), vec![sample(100, processes)]);
        let named = |pid| {
            format!(
                "process.pid={pid} process.creation.time=1970-01-01T00:00:00.600Z \
                 process.executable.name=M8RefSvr"
            )
        };
        let expected = map([(&named(1), 2.0), (&named(3), 4.0), (&named(4), 5.0), ("", 9.0)]);
        assert_eq!(values(&report, OTEL, "process.thread.count"), expected);
        assert_eq!(values(&report, OTEL, "m8refsvr.process.count"), map([("", 5.0)]));
        assert_eq!(values(&report, OTEL, "m8refsvr.agent.process.unlisted"), map([("", 2.0)]));
    }

    #[test]
    fn what_needs_two_looks_or_was_not_read_is_absent() {
        let report = report(&["a"], None, vec![sample(100, [process(1, 50, 1)])]);
        assert_eq!(values(&report, BOTH, "process.cpu.utilization"), map([]));
        assert_eq!(values(&report, BOTH, "cpu_usage"), map([]));
        assert_eq!(values(&report, BOTH, "process.disk.io"), map([]));
        assert_eq!(values(&report, BOTH, "m8refsvr.block.io"), map([]));
        assert_eq!(values(&report, BOTH, "m8refsvr.agent.memory.usage"), map([]));
    }

    #[test]
    fn where_no_process_is_sums_are_zero_and_extremes_absent() {
        let report = report(&["a"], None, vec![sample(100, []), sample(200, [])]);
        let zeros = map([("disk.io.direction=read", 0.0), ("disk.io.direction=write", 0.0)]);
        assert_eq!(values(&report, BOTH, "process.disk.io"), zeros);
        // Nothing tells of block I/O.
        assert_eq!(values(&report, BOTH, "m8refsvr.block.io"), map([]));
        assert_eq!(values(&report, BOTH, "cpu_usage"), map([("", 0.0)]));
        assert_eq!(values(&report, BOTH, "process_count"), map([("", 0.0)]));
        assert_eq!(values(&report, BOTH, "max_threads_per_process"), map([]));
        assert_eq!(values(&report, BOTH, "process.uptime"), map([]));
    }

    #[test]
    fn only_the_wanted_names_are_sent_and_the_agents_own_always() {
        let report = report(&["a"], None, vec![sample(100, [])]);
        let names = |names| metrics(&report, names).into_iter().map(|metric| metric.name).collect::<Vec<_>>();
        let instana = names(Names { otel: false, instana: true });
        assert!(instana.contains(&"process_count".to_owned()));
        assert!(instana.contains(&"m8refsvr.agent.look.duration".to_owned()));
        assert!(!instana.contains(&"process.cpu.time".to_owned()));
        assert!(!names(OTEL).contains(&"process_count".to_owned()));
    }

    #[test]
    fn what_grows_has_a_start_and_what_is_of_the_moment_has_none() {
        let looks = vec![sample(100, [process(1, 50, 5)]), sample(200, [process(1, 50, 6)])];
        let report = report(&["a"], Some(1), looks);
        let at = nanoseconds(report.at);
        for metric in metrics(&report, BOTH) {
            let known = CATALOGUE.iter().find(|known| known.name == metric.name).unwrap();
            let is_gauge = matches!(metric.data, Some(Data::Gauge(_)));
            assert_eq!(is_gauge, known.kind == Kind::Gauge, "{}", metric.name);
            if let Some(Data::Sum(sum)) = &metric.data {
                assert_eq!(sum.is_monotonic, known.kind == Kind::Counter, "{}", metric.name);
                assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
            }
            let is_told = |point: &NumberDataPoint| {
                let since = point.start_time_unix_nano;
                point.time_unix_nano == at && if is_gauge { since == 0 } else { since > 0 && since <= at }
            };
            assert_eq!((metric.unit.as_str(), metric.description.as_str()), (known.unit, known.description));
            assert!(points_of(metric.clone()).iter().all(is_told), "{metric:?}");
        }
    }
}
