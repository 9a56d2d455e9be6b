//! What receivers get from a report, by either kind of request.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, metric::Data, number_data_point,
    },
};
use prost::Message as _;

use super::*;
use crate::{
    metrics::{
        aggregate::Machine,
        catalogue::{CATALOGUE, Kind, Number},
        report::{AgentReport, Exports, Report, Reporter},
    },
    model::{
        sample::{
            Sample,
            fixtures::{process, sample},
        },
        source::{Source, Sources},
    },
    proc::{process_attributes::ProcessAttributes, system::Host},
};

const OTEL: Names = Names { otel: true, instana: false };
const BOTH: Names = Names { otel: true, instana: true };

fn agent() -> AgentReport {
    AgentReport {
        collection: Duration::from_millis(2),
        skipped_collections: 0,
        failed_collections: 0,
        cpu: Duration::from_millis(30),
        resident: None,
        programs: Vec::new(),
        slots: None,
        drops: Vec::new(),
        exports: Exports::default(),
        discovery_missed: 0,
        series_overflow: None,
        sources: Sources {
            context_switches: Source::Procfs,
            block_io: Source::None,
            lifecycle: Source::Procfs,
        },
    }
}

/// The reports of some samples, one second apart.
fn reports(patterns: &[&str], max_series_processes: Option<usize>, samples: Vec<Sample>) -> Vec<Report> {
    let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    let mut reporter = Reporter::new(UNIX_EPOCH + Duration::from_secs(1), patterns, max_series_processes);
    let machine = Machine { memory_bytes: Some(1 << 30), cpus: Some(4) };
    let began = std::time::Instant::now();
    let reports = (0..).zip(samples).map(|(second, mut sample)| {
        sample.began = began + Duration::from_secs(second);
        reporter.report(&sample, machine, agent(), true)
    });
    reports.collect()
}

/// The report of the last sample.
fn report(patterns: &[&str], max_series_processes: Option<usize>, samples: Vec<Sample>) -> Report {
    reports(patterns, max_series_processes, samples).pop().unwrap()
}

fn resource() -> Resource {
    super::resource(&Host { name: "box".into(), id: None }, &[], super::Overrides::default()).unwrap()
}

fn payload(report: &Report, names: Names) -> Payload {
    Instruments::new(names, &resource(), report.groups.len()).collect(report.clone()).unwrap()
}

/// What the SDK exports of a report, and what `messages` makes of it.
fn requests(report: &Report, names: Names) -> [Vec<ResourceMetrics>; 2] {
    let payload = payload(report, names);
    let of_sdk = ExportMetricsServiceRequest::from(payload.metrics.as_ref());
    let messages = ProcessMessages::new(names, resource(), Place::Resource);
    let of_messages = messages.requests(report, LIMIT).flat_map(|request| request.resource_metrics);
    [of_sdk.resource_metrics, of_messages.collect()]
}

fn metrics_of(resource: &ResourceMetrics) -> impl Iterator<Item = Metric> {
    resource.scope_metrics.iter().flat_map(|scope| scope.metrics.clone())
}

fn points_of(metric: Metric) -> Vec<NumberDataPoint> {
    match metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points,
        Some(Data::Sum(sum)) => sum.data_points,
        _ => Vec::new(),
    }
}

fn shown(attributes: &[KeyValue]) -> String {
    let one = |attribute: &KeyValue| match attribute.value.clone().unwrap().value {
        Some(any_value::Value::StringValue(text)) => format!("{}={text}", attribute.key),
        Some(any_value::Value::IntValue(number)) => format!("{}={number}", attribute.key),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The values of a metric by their attributes, including those of a process's resource.
fn values(report: &Report, names: Names, name: &str) -> BTreeMap<String, f64> {
    let [of_sdk, of_messages] = requests(report, names);
    let value = |value| match value {
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        Some(number_data_point::Value::AsDouble(value)) => value,
        None => panic!("no value"),
    };
    let mut values = BTreeMap::new();
    for resource in of_sdk.iter().chain(&of_messages) {
        let of_process = |it: &&KeyValue| it.key.starts_with("process.");
        let of_process: Vec<KeyValue> = resource
            .resource
            .iter()
            .flat_map(|it| it.attributes.iter().filter(of_process).cloned())
            .collect();
        for point in metrics_of(resource).filter(|metric| metric.name == name).flat_map(points_of) {
            let attributes = shown(&[&of_process[..], &point.attributes].concat());
            assert_eq!(values.insert(attributes, value(point.value)), None, "twice");
        }
    }
    values
}

fn map<const N: usize>(pairs: [(&str, f64); N]) -> BTreeMap<String, f64> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn named(pid: u32) -> String {
    format!(
        "process.pid={pid} process.creation.time=1970-01-01T00:00:00.600Z process.executable.name=M8RefSvr"
    )
}

#[test]
fn values_are_summed_by_group_also_where_there_is_one_pattern() {
    const GROUP: &str = "m8refsvr.group=M8RefSvr";
    let collections = vec![
        sample(100, [process(1, 50, 5), process(2, 50, 5)]),
        sample(200, [process(1, 50, 6), process(2, 50, 7)]),
    ];
    let report = report(&["M8RefSvr"], None, collections);
    let cpu = values(&report, BOTH, "process.cpu.time");
    assert_eq!(
        cpu,
        map([
            ("cpu.mode=user m8refsvr.group=M8RefSvr", 3.0),
            ("cpu.mode=system m8refsvr.group=M8RefSvr", 0.0)
        ])
    );
    let utilization = values(&report, BOTH, "process.cpu.utilization");
    assert_eq!(
        utilization,
        map([
            ("cpu.mode=user m8refsvr.group=M8RefSvr", 0.75),
            ("cpu.mode=system m8refsvr.group=M8RefSvr", 0.0)
        ])
    );
    assert_eq!(values(&report, BOTH, "cpu_usage"), map([("", 300.0)]));
    assert_eq!(values(&report, BOTH, "memory_usage"), map([("", 0.1953125)]));
    assert_eq!(values(&report, BOTH, "m8refsvr.process.count"), map([(GROUP, 2.0)]));
    assert_eq!(values(&report, BOTH, "m8refsvr.process.threads.mean"), map([(GROUP, 2.5)]));
    assert_eq!(values(&report, BOTH, "process.uptime"), map([(GROUP, 1.5)]));
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
fn with_per_process_the_largest_have_a_resource_each_and_the_rest_is_one_series() {
    let processes = [(1, 9), (2, 1), (3, 8), (4, 10), (5, 1)];
    let processes = processes.map(|(pid, cpu)| process(pid, 60, cpu));
    let report = report(&["a"], Some(3), vec![sample(100, processes)]);
    let of = named;
    let expected = map([(&of(1), 2.0), (&of(3), 4.0), (&of(4), 5.0), ("m8refsvr.group=a", 9.0)]);
    assert_eq!(values(&report, OTEL, "process.thread.count"), expected);
    assert_eq!(values(&report, OTEL, "m8refsvr.process.count"), map([("m8refsvr.group=a", 5.0)]));
    assert_eq!(values(&report, OTEL, "m8refsvr.agent.series.overflow"), map([("", 2.0)]));
}

#[tokio::test]
async fn a_resource_says_what_is_known_of_its_process_and_points_name_it_where_that_is_wanted() {
    let mut known = process(1, 60, 9);
    let attributes = ProcessAttributes {
        parent_pid: Some(7),
        executable_path: Some("/opt/M8RefSvr".into()),
        command: Some("./M8RefSvr".into()),
        owner_uid: Some(0),
        cgroup: Some("/system.slice/a.service".into()),
        ..ProcessAttributes::default()
    };
    known.attributes = Some(Arc::new(attributes));
    let report = report(&["a"], Some(3), vec![sample(100, [known, process(2, 60, 1)])]);
    let messages = ProcessMessages::new(OTEL, resource(), Place::Points);
    messages.prepare(&report).await;
    let request = messages.requests(&report, LIMIT).next().unwrap();
    let of_process = |resource: &ResourceMetrics| {
        let attributes = resource.resource.as_ref().unwrap().attributes.iter();
        let kept = |it: &&KeyValue| it.key.starts_with("process.") || it.key.starts_with("container.");
        shown(&attributes.filter(kept).cloned().collect::<Vec<_>>())
    };
    assert_eq!(
        of_process(&request.resource_metrics[0]),
        named(1)
            + " process.parent_pid=7 process.executable.path=/opt/M8RefSvr process.command=./M8RefSvr \
               process.owner=root process.linux.cgroup=/system.slice/a.service"
    );
    // What was not read is absent.
    assert_eq!(of_process(&request.resource_metrics[1]), named(2));
    let mut points = request.resource_metrics.iter().flat_map(metrics_of).flat_map(points_of);
    assert!(points.all(|point| {
        let shown = shown(&point.attributes);
        shown.contains("process.pid=") && shown.contains("process.executable.name=M8RefSvr")
    }));
}

#[test]
fn with_default_settings_no_point_is_made_but_by_the_sdk() {
    let report = report(&["a"], None, vec![sample(100, [process(1, 50, 1)])]);
    let [of_sdk, of_messages] = requests(&report, OTEL);
    assert!(of_messages.is_empty());
    assert_eq!(of_sdk.len(), 1);
    let names: HashSet<String> = metrics_of(&of_sdk[0]).map(|metric| metric.name).collect();
    assert!(
        names.contains("process.cpu.time") && names.contains("m8refsvr.agent.collection.duration"),
        "{names:?}"
    );
}

#[test]
fn what_needs_two_collections_or_was_not_read_is_absent() {
    let report = report(&["a"], None, vec![sample(100, [process(1, 50, 1)])]);
    for name in [
        "process.cpu.utilization",
        "cpu_usage",
        "process.disk.io",
        "m8refsvr.block.io",
        "m8refsvr.agent.memory.usage",
    ] {
        assert_eq!(values(&report, BOTH, name), map([]), "{name}");
    }
}

#[test]
fn where_no_process_is_sums_are_zero_and_extremes_absent() {
    let report = report(&["a"], None, vec![sample(100, []), sample(200, [])]);
    let zeros = map([
        ("disk.io.direction=read m8refsvr.group=a", 0.0),
        ("disk.io.direction=write m8refsvr.group=a", 0.0),
    ]);
    assert_eq!(values(&report, BOTH, "process.disk.io"), zeros);
    // Block I/O has no source.
    assert_eq!(values(&report, BOTH, "m8refsvr.block.io"), map([]));
    assert_eq!(values(&report, BOTH, "cpu_usage"), map([("", 0.0)]));
    assert_eq!(values(&report, BOTH, "process_count"), map([("", 0.0)]));
    assert_eq!(values(&report, BOTH, "max_threads_per_process"), map([]));
    assert_eq!(values(&report, BOTH, "process.uptime"), map([]));
}

#[test]
fn only_the_wanted_names_are_sent_and_the_agents_own_always() {
    let report = report(&["a"], None, vec![sample(100, [])]);
    let names = |names| {
        let [of_sdk, _] = requests(&report, names);
        metrics_of(&of_sdk[0]).map(|metric| metric.name).collect::<Vec<_>>()
    };
    let instana = names(Names { otel: false, instana: true });
    assert!(instana.contains(&"process_count".to_owned()));
    assert!(instana.contains(&"m8refsvr.agent.collection.duration".to_owned()));
    assert!(!instana.contains(&"process.cpu.time".to_owned()));
    assert!(!names(OTEL).contains(&"process_count".to_owned()));
}

#[test]
fn a_series_that_is_over_is_not_sent_again() {
    let collections = vec![sample(100, [process(1, 50, 5)]), sample(200, [])];
    let mut instruments = Instruments::new(OTEL, &resource(), 1);
    let collected: Vec<Payload> = reports(&["a"], None, collections)
        .into_iter()
        .map(|report| instruments.collect(report).unwrap())
        .collect();
    let names = |payload: &Payload| {
        let request = ExportMetricsServiceRequest::from(payload.metrics.as_ref());
        metrics_of(&request.resource_metrics[0]).map(|metric| metric.name).collect::<HashSet<_>>()
    };
    assert!(names(&collected[0]).contains("process.uptime"));
    assert!(!names(&collected[1]).contains("process.uptime"));
    assert!(names(&collected[1]).contains("process.cpu.time"));
}

#[test]
fn each_kind_is_as_the_catalogue_says() {
    let collections = vec![sample(100, [process(1, 50, 5)]), sample(200, [process(1, 50, 6)])];
    let before = SystemTime::now();
    for max_series_processes in [None, Some(1)] {
        let report = report(&["a"], max_series_processes, collections.clone());
        let [of_sdk, of_messages] = requests(&report, BOTH);
        for metric in of_sdk.iter().chain(&of_messages).flat_map(metrics_of) {
            let known = CATALOGUE.iter().find(|known| known.name == metric.name).unwrap();
            assert_eq!((metric.unit.as_str(), metric.description.as_str()), (known.unit, known.description));
            match &metric.data {
                Some(Data::Gauge(_)) => assert_eq!(known.kind, Kind::Gauge, "{}", known.name),
                Some(Data::Sum(sum)) => {
                    let kind = if sum.is_monotonic { Kind::Counter } else { Kind::UpDownCounter };
                    assert_eq!(known.kind, kind, "{}", known.name);
                    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
                    assert!(sum.data_points.iter().all(|point| point.start_time_unix_nano > 0));
                }
                Some(Data::Histogram(histogram)) => {
                    assert_eq!(known.kind, Kind::Histogram, "{}", known.name);
                    assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
                    let point = &histogram.data_points[0];
                    assert_eq!((point.count, point.sum), (1, Some(0.002)));
                    // 2 ms is above the bound of 1 ms, and not above that of 2.5 ms.
                    assert_eq!(point.bucket_counts.iter().position(|&count| count == 1), Some(2));
                }
                other => panic!("{}: {other:?}", known.name),
            }
            for point in points_of(metric.clone()) {
                assert!(point.start_time_unix_nano <= point.time_unix_nano, "{metric:?}");
                let is_float = matches!(point.value, Some(number_data_point::Value::AsDouble(_)));
                assert_eq!(known.number() == Number::Float, is_float, "{}", known.name);
            }
        }
    }
    assert!(SystemTime::now() >= before, "the clock was set back: this test says nothing");
}

#[test]
fn a_clock_that_is_set_back_begins_series_of_their_own() {
    let mut instruments = Instruments::new(OTEL, &resource(), 1);
    // Collected in 1970, by a clock that was right when the agent started.
    let request = |instruments: &mut Instruments| {
        let report = report(&["a"], None, vec![sample(100, [])]);
        let payload = instruments.collect(report).unwrap();
        ExportMetricsServiceRequest::from(payload.metrics.as_ref())
    };
    let starts = |request: &ExportMetricsServiceRequest| {
        let points = metrics_of(&request.resource_metrics[0]).flat_map(points_of);
        points.map(|point| point.start_time_unix_nano).filter(|&start| start > 0).collect::<HashSet<_>>()
    };
    let first = starts(&request(&mut instruments));
    let second = starts(&request(&mut instruments));
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
}

#[test]
fn what_is_larger_than_the_wire_carries_is_the_largest_that_it_does() {
    let mut large = process(1, 50, 1);
    large.resident_bytes = Some(u64::MAX);
    for max_series_processes in [None, Some(1)] {
        let report = report(&["a"], max_series_processes, vec![sample(100, [large.clone()])]);
        let sent = values(&report, OTEL, "process.memory.usage");
        assert_eq!(sent.into_values().collect::<Vec<_>>(), [i64::MAX as f64]);
    }
}

#[test]
fn requests_stay_below_the_limit_and_lose_no_process() {
    const PROCESSES: u32 = 500;
    let processes = (1..=PROCESSES).map(|pid| process(pid, 60, u64::from(pid)));
    let report = report(&["a"], Some(1000), vec![sample(100, processes.collect::<Vec<_>>())]);
    let messages = ProcessMessages::new(OTEL, resource(), Place::Resource);
    let whole: Vec<_> = messages.requests(&report, usize::MAX).collect();
    assert_eq!(whole.len(), 1);
    let limit = whole[0].encoded_len() / 7;
    let requests: Vec<_> = messages.requests(&report, limit).collect();
    assert!(requests.iter().all(|request| request.encoded_len() < limit));
    assert!(requests.len() <= 8, "{} requests: they are not well filled", requests.len());
    let split: Vec<_> = requests.into_iter().flat_map(|request| request.resource_metrics).collect();
    assert_eq!(split, whole[0].resource_metrics);
    // A resource that exceeds the limit has a request of its own.
    assert_eq!(messages.requests(&report, 1).count(), PROCESSES as usize);
}
