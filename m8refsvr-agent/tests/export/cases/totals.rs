//! Totals on the wire: complete for many processes, and never falling while processes come and go.

use std::collections::{BTreeMap, BTreeSet};

use m8refsvr_test_support::load::LoadProcess;

use crate::{
    Case,
    Need::{Mock, Rotel},
    agent::{Agent, code_and_errors, command},
    load::Name,
    receiver::{Export, Kind, Point, PointKind, Receiver},
};

pub(crate) const CASES: &[Case] =
    &[TWO_THOUSAND_ROTEL_GRPC, TWO_THOUSAND_MOCK_HTTP, NEVER_FALL, NEVER_FALL_PER_PROCESS];

const TWO_THOUSAND_ROTEL_GRPC: Case =
    Case::new("two thousand processes one by one arrive complete over gRPC", &[Rotel], || {
        two_thousand(Kind::Rotel, "grpc")
    });
const TWO_THOUSAND_MOCK_HTTP: Case =
    Case::new("two thousand processes one by one arrive complete over HTTP", &[Mock], || {
        two_thousand(Kind::Mock, "http/protobuf")
    });

fn two_thousand(kind: Kind, protocol: &str) {
    const COUNT: usize = 2000;
    let receiver = Receiver::start(kind);
    let name = Name::new("many");
    let processes: Vec<LoadProcess> = (0..COUNT).map(|_| name.start()).collect();
    let port = if protocol == "grpc" { receiver.grpc_port() } else { receiver.http_port() };
    let mut command = command(&["--once", "--sample", "0.01", "--ebpf", "off", "--protocol", protocol]);
    command.args(["--per-process", "--max-series-processes", "2000", "--process", name.text()]);
    command.args(["--agent-host", "127.0.0.1", "--agent-port", &port.to_string()]);
    let output = command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "60000").output().unwrap();
    assert_eq!(code_and_errors(&output), (Some(0), String::new()));
    let exports = receiver.exports();
    assert_eq!(exports.len(), 1 + COUNT, "a resource for each, and the agent's own");
    let pids: BTreeSet<String> = processes.iter().map(|process| process.pid().to_string()).collect();
    assert_eq!(pids.len(), COUNT);
    let points: Vec<Point> = exports.iter().flat_map(Export::points_by_process).collect();
    for (metric, each) in
        [("process.memory.usage", 1), ("process.cpu.time", 2), ("process.disk.io", 2), ("process.uptime", 1)]
    {
        let of_metric = points.iter().filter(|point| point.name == metric);
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for point in of_metric {
            *seen.entry(&point.attributes["process.pid"]).or_default() += 1;
        }
        assert_eq!(seen.keys().map(|pid| (*pid).to_owned()).collect::<BTreeSet<_>>(), pids, "{metric}");
        assert!(seen.values().all(|&count| count == each), "{metric}");
    }
    let count = points.iter().find(|point| point.name == "m8refsvr.process.count").unwrap();
    assert_eq!(count.value, 2000.0);
}

const NEVER_FALL: Case =
    Case::new("totals never fall while processes start and end", &[Mock], || never_fall(&[]));
const NEVER_FALL_PER_PROCESS: Case =
    Case::new("totals of processes one by one never fall while processes start and end", &[Mock], || {
        never_fall(&["--per-process", "--max-series-processes", "3"])
    });

fn never_fall(more: &[&str]) {
    const TICKS: usize = 30;
    let receiver = Receiver::start(Kind::Mock);
    let name = Name::new("churn");
    let port = receiver.grpc_port().to_string();
    let place = ["--agent-host", "127.0.0.1", "--agent-port", &port, "--names", "both"];
    let loops = ["--interval", "0.2", "--process", name.text(), "--bpf-fs", "/nowhere"];
    let agent = Agent::start(&[&loops[..], &place[..], more].concat());
    let mut living: Vec<LoadProcess> = Vec::new();
    agent.wait_for_collections(1);
    let mut worked = 0.0;
    while agent.collections() < TICKS {
        let mut process = name.start();
        process.run("burn-cpu 50");
        process.run("write 65536");
        living.push(process);
        worked += 1.0;
        // It has been seen when it ends.
        agent.wait_for_collections(2);
        if living.len() > 4 {
            drop(living.remove(agent.collections() % living.len()));
        }
    }
    drop(living);
    agent.wait_for_collections(2);
    let exports = receiver.wait_for("the ticks", |exports| exports.len() >= TICKS);
    let mut series: BTreeMap<(String, BTreeMap<String, String>, u64), f64> = BTreeMap::new();
    let mut grown = 0;
    for export in &exports {
        let is_total = |point: &Point| point.kind == PointKind::Sum { monotonic: true, cumulative: true };
        for point in export.points_by_process().filter(is_total) {
            let key = (point.name.clone(), point.attributes.clone(), point.start_ns);
            let before = series.insert(key, point.value).unwrap_or_default();
            assert!(before <= point.value, "{before:?} before {point:?}");
            grown += usize::from(before < point.value);
        }
    }
    assert!(grown > 100, "something has grown");
    // Series that are over included.
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for ((name, ..), value) in series {
        *sums.entry(name).or_default() += value;
    }
    let total = sums["cpu_user_time_total"] + sums["cpu_system_time_total"];
    assert!((sums["process.cpu.time"] - total).abs() < 1e-6, "nothing is exported twice: {sums:?}");
    // User and system time are counted in ticks of 10 ms.
    assert!(sums["process.cpu.time"] >= 0.03 * worked, "{worked} worked: {sums:?}");
    assert!(sums["disk_write_bytes"] >= 65536.0 * worked, "{worked} worked: {sums:?}");
}
