//! What arrives is what the catalogue says, by every way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use m8refsvr_agent::{
    metrics::catalogue::{CATALOGUE, ChurnMetric, Kind, Metric, Points, Vocabulary},
    model::exit::Exit,
};

use crate::{
    Case,
    Need::{Bpf, Mock, Rotel},
    agent::{code_and_errors, command},
    bpf_stats::BpfStats,
    load::Name,
    receiver::{self, Export, Point, PointKind, Receiver},
};

pub(crate) const CASES: &[Case] = &[ARRIVES_AT_ROTEL, ARRIVES_AT_MOCK];

const ARRIVES_AT_ROTEL: Case = Case::new(
    "every metric arrives at rotel as the catalogue says, over both protocols, in each vocabulary",
    &[Bpf, Rotel],
    || arrives_at(receiver::Kind::Rotel),
);
const ARRIVES_AT_MOCK: Case = Case::new(
    "every metric arrives at mockotlpserver as the catalogue says, over both protocols, in each vocabulary",
    &[Bpf, Mock],
    || arrives_at(receiver::Kind::Mock),
);

fn arrives_at(kind: receiver::Kind) {
    let _stats = BpfStats::set(true);
    let receiver = Receiver::start(kind);
    let name = Name::new("catalogue");
    let processes = [name.start(), name.start()];
    let pids: BTreeSet<String> = processes.iter().map(|process| process.pid().to_string()).collect();
    for protocol in ["grpc", "http/protobuf"] {
        for (names, vocabularies) in [
            ("otel", &[Vocabulary::Otel][..]),
            ("instana", &[Vocabulary::Instana]),
            ("both", &[Vocabulary::Otel, Vocabulary::Instana]),
        ] {
            for per_process in [false, true] {
                let points =
                    points(&receiver, protocol, names, per_process.then_some(pids.len()), name.text());
                let case = format!("{protocol}, {names}, per process: {per_process}");
                check(&points, vocabularies, per_process, &pids, &case);
            }
        }
    }
}

/// What one export brings.
fn points(
    receiver: &Receiver,
    protocol: &str,
    names: &str,
    one_by_one: Option<usize>,
    name: &str,
) -> Vec<Point> {
    let before = receiver.exports().len();
    let began = nanoseconds(SystemTime::now());
    let port = if protocol == "grpc" { receiver.grpc_port() } else { receiver.http_port() };
    let mut command = command(&["--once", "--sample", "0.1", "--ebpf", "require", "--process", name]);
    command.args(["--protocol", protocol, "--names", names]);
    command.args(["--agent-host", "127.0.0.1", "--agent-port", &port.to_string()]);
    command.args(one_by_one.map(|_| "--per-process"));
    command.env("OTEL_RESOURCE_ATTRIBUTES", "team=a%20b").env("OTEL_SERVICE_NAME", "svc");
    // The earlier plugin knew no single processes.
    let is_without_effect = one_by_one.is_some() && names == "instana";
    let remark = if is_without_effect {
        "m8refsvr-agent: without effect with --names instana: --per-process\n"
    } else {
        ""
    };
    assert_eq!(code_and_errors(&command.output().unwrap()), (Some(0), remark.to_owned()));
    let exports = receiver.exports().split_off(before);
    let resources = 1 + one_by_one.filter(|_| names != "instana").unwrap_or_default();
    assert_eq!(exports.len(), resources, "the agent's own resource, and one for each process");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for export in &exports {
        assert_eq!(export.scopes, [("m8refsvr".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        for (attribute, value) in
            [("service.name", "svc"), ("team", "a b"), ("host.name", &host), ("os.type", "linux")]
        {
            assert_eq!(export.resource.get(attribute).map(String::as_str), Some(value), "{attribute}");
        }
    }
    let points: Vec<Point> = exports.iter().flat_map(Export::points_by_process).collect();
    let ended = nanoseconds(SystemTime::now());
    for point in &points {
        assert!((began..ended).contains(&point.time_ns), "{point:?}");
        assert!(point.start_ns < point.time_ns, "{point:?}");
        assert!(point.start_ns > 0 || point.kind == PointKind::Gauge, "{point:?}");
    }
    points
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

fn check(
    points: &[Point],
    vocabularies: &[Vocabulary],
    per_process: bool,
    pids: &BTreeSet<String>,
    case: &str,
) {
    let mut by_name: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
    points.iter().for_each(|point| by_name.entry(&point.name).or_default().push(point));
    let is_expected = |metric: &&Metric| {
        (metric.vocabulary == Vocabulary::Agent || vocabularies.contains(&metric.vocabulary))
            && (per_process || metric.name != "m8refsvr.agent.series.overflow")
    };
    for metric in CATALOGUE.iter().filter(is_expected) {
        let case = format!("{case}, {}", metric.name);
        let points = by_name.remove(metric.name).unwrap_or_else(|| panic!("{case} did not arrive"));
        for point in &points {
            assert_eq!(point.unit, metric.unit, "{case}");
            assert_eq!(point.description, metric.description, "{case}");
            let kind = match metric.kind {
                Kind::Gauge => PointKind::Gauge,
                Kind::UpDownCounter => PointKind::Sum { monotonic: false, cumulative: true },
                Kind::Counter => PointKind::Sum { monotonic: true, cumulative: true },
                Kind::Histogram => PointKind::Histogram { cumulative: true },
            };
            assert_eq!(point.kind, kind, "{case}");
            if metric.kind == Kind::Histogram {
                assert_eq!(
                    (point.bounds[0], point.bounds[point.bounds.len() - 1]),
                    (0.000_5, 10.0),
                    "{case}"
                );
                assert_eq!(point.buckets.iter().sum::<u64>(), 1, "{case}");
                assert!(point.value > 0.0, "{case}");
            }
        }
        let mut named: Vec<BTreeMap<String, String>> =
            points.iter().map(|point| point.attributes.clone()).collect();
        if metric.vocabulary == Vocabulary::Otel {
            // Processes have it in their resources.
            let is_of_process = per_process && matches!(metric.points, Points::Each(_));
            for attributes in named.iter_mut().filter(|_| !is_of_process) {
                let group = attributes.remove("m8refsvr.group");
                assert!(group.is_some_and(|group| group.starts_with("catalogue-")), "{case}: {attributes:?}");
            }
        }
        check_attributes(metric, &named, per_process, pids, &case);
    }
    assert_eq!(
        by_name.keys().collect::<Vec<_>>(),
        [""; 0].iter().collect::<Vec<_>>(),
        "{case}: unknown names"
    );
    let value = |name: &str| points.iter().find(|point| point.name == name).map(|point| point.value);
    for (name, expected) in [("m8refsvr.process.count", 2.0), ("process_count", 2.0), ("thread_count", 2.0)] {
        assert!(value(name).is_none_or(|value| value == expected), "{case}: {name} is {:?}", value(name));
    }
}

fn check_attributes(
    metric: &Metric,
    named: &[BTreeMap<String, String>],
    per_process: bool,
    pids: &BTreeSet<String>,
    case: &str,
) {
    let of_points =
        |points: &[m8refsvr_agent::metrics::catalogue::Point]| -> BTreeSet<BTreeMap<String, String>> {
            let attributes = points.iter().map(|point| {
                point
                    .attribute
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect()
            });
            attributes.collect()
        };
    match metric.points {
        // Not all that is limited elsewhere is limited here.
        Points::Each(points) if metric.name == "m8refsvr.limit.utilization" => {
            let limits = of_points(points);
            let limit = |attributes: &BTreeMap<String, String>| attributes["m8refsvr.limit"].clone();
            let seen: BTreeSet<_> = named.iter().map(limit).collect();
            assert!(seen.is_subset(&limits.iter().map(limit).collect()), "{case}: {seen:?}");
            assert!(seen.contains("open_files"), "{case}: {seen:?}");
        }
        Points::Each(points) if per_process && metric.vocabulary == Vocabulary::Otel => {
            let mut expected: BTreeSet<(String, BTreeMap<String, String>)> = BTreeSet::new();
            for pid in pids {
                expected.extend(of_points(points).into_iter().map(|attributes| (pid.clone(), attributes)));
            }
            let seen: BTreeSet<(String, BTreeMap<String, String>)> = named
                .iter()
                .map(|attributes| {
                    let mut rest = attributes.clone();
                    let pid = rest.remove("process.pid").expect("a pid");
                    let name = rest.remove("process.executable.name").expect("a name");
                    assert!(name.starts_with("catalogue-"), "{case}: {name}");
                    let created = rest.remove("process.creation.time").expect("a creation time");
                    assert!(created.starts_with("20") && created.ends_with('Z'), "{case}: {created}");
                    (pid, rest)
                })
                .collect();
            assert_eq!(seen, expected, "{case}");
        }
        Points::Each(points) | Points::Group(points) => {
            assert_eq!(named.iter().cloned().collect::<BTreeSet<_>>(), of_points(points), "{case}");
            assert_eq!(named.len(), points.len(), "{case}");
        }
        Points::Churn(churn) => {
            let reasons = Exit::REASONS
                .map(|reason| BTreeMap::from([("m8refsvr.exit.reason".to_owned(), reason.to_owned())]));
            // None has exited, and each reason has a series all the same.
            let expected = if churn == ChurnMetric::Exits { reasons.into() } else { vec![BTreeMap::new()] };
            let seen: BTreeSet<_> = named.iter().cloned().collect();
            assert_eq!(seen, expected.into_iter().collect(), "{case}");
        }
        Points::Agent(_, names) => {
            for attributes in named {
                let keys: Vec<&str> = attributes.keys().map(String::as_str).collect();
                let mut names = names.to_vec();
                names.sort_unstable();
                assert_eq!(keys, names, "{case}");
            }
        }
    }
}
