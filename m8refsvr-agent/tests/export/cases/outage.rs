//! Receivers that go away, say no, hang or cut the connection: collections go on, memory does not grow, and what
//! arrives afterwards is right.

use std::{
    fs,
    time::{Duration, UNIX_EPOCH},
};

use m8refsvr_agent::export::otlp::LIMIT;
use m8refsvr_test_support::load::LoadProcess;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::{
    Case,
    Need::{Mock, Nginx},
    agent::Agent,
    broken::Broken,
    load::Name,
    nginx,
    receiver::{Export, Kind, Receiver},
    server::Reserved,
};

pub(crate) const CASES: &[Case] = &[GOES_AWAY, UNAVAILABLE, SILENT, CUTTING, FAILED_COLLECTION, IDLE, MEMORY];

const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];
const INTERVAL: &str = "0.2";
const BYTES: usize = 1 << 20;

/// An agent that watches one process and exports it to a port.
struct Setting {
    agent: Agent,
    process: LoadProcess,
    _name: Name,
    /// What the kernel says that the process had written before.
    before: usize,
}

impl Setting {
    fn new(protocol: &str, port: u16, variables: &[(&str, &str)]) -> Self {
        let name = Name::new("outage");
        let process = name.start();
        let before = written(process.pid());
        let port = port.to_string();
        let place = ["--protocol", protocol, "--agent-host", "127.0.0.1", "--agent-port", &port];
        let loops = ["--interval", INTERVAL, "--ebpf", "off", "--process", name.text()];
        let agent = Agent::start_with(&[&loops[..], &place[..]].concat(), variables);
        agent.wait_for_collections(1);
        Self { agent, process, _name: name, before }
    }

    /// Has the process write, so that there is a total to be right.
    fn write(&mut self) {
        self.process.run(&format!("write {BYTES}"));
    }

    /// What the right total is: what the process asked for, and what the file system needed for itself.
    fn written(&self) -> f64 {
        let written = written(self.process.pid()) - self.before;
        assert!(written >= BYTES);
        written as f64
    }

    /// The first export to a receiver that took none before has all that happened in the meantime.
    fn check_first(&mut self, receiver: &Receiver, failed_at_least: f64) {
        let exports = receiver.wait_for("an export after the outage", |exports| !exports.is_empty());
        let first = &exports[0];
        let written = value(first, "process.disk.io", "disk.io.direction", "write");
        assert_eq!(written, self.written(), "bytes written in the first export");
        let failed = value(first, "m8refsvr.agent.export.failed", "", "");
        assert!(failed >= failed_at_least, "{failed} failed exports");
        let dropped = value(first, "m8refsvr.agent.export.dropped", "", "");
        assert!(dropped > 0.0, "{dropped} dropped exports");
        let times: Vec<u64> = exports.iter().map(|export| export.points[0].time_ns).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "old collections were repeated: {times:?}");
        self.agent.wait_for("exports arrive again", 1);
        // It was logged once, and not at each of the intervals.
        assert_eq!(self.agent.lines_with("WARN export to"), 1, "{}", self.agent.log());
    }
}

fn value(export: &Export, name: &str, attribute: &str, wanted: &str) -> f64 {
    let found = export.points.iter().find(|point| {
        point.name == name && point.attributes.get(attribute).map_or("", String::as_str) == wanted
    });
    found.unwrap_or_else(|| panic!("{name} did not arrive")).value
}

const GOES_AWAY: Case = Case::new(
    "a receiver that goes away for ten intervals gets the right totals when it is back",
    &[Mock],
    goes_away,
);

fn goes_away() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(Kind::Mock);
        let (grpc, http) = (receiver.grpc_port(), receiver.http_port());
        let mut setting = Setting::new(protocol, if protocol == "grpc" { grpc } else { http }, &[]);
        setting.write();
        let exports = receiver.wait_for("the bytes before", |exports| {
            exports.last().is_some_and(|export| {
                value(export, "process.disk.io", "disk.io.direction", "write") == setting.written()
            })
        });
        assert!(value(&exports[0], "process.disk.io", "disk.io.direction", "write") <= setting.written());
        drop(receiver);
        let collections = setting.agent.collections();
        setting.agent.wait_for("failed: ", 10);
        setting.write();
        setting.agent.wait_for_collections(2);
        assert!(setting.agent.collections() >= collections + 10);
        let receiver = Receiver::start_at(Kind::Mock, grpc, http);
        setting.check_first(&receiver, 10.0);
    }
}

const UNAVAILABLE: Case = Case::new(
    "a receiver that answers 503 gets the right totals when it takes them again",
    &[Mock, Nginx],
    unavailable,
);

fn unavailable() {
    for protocol in PROTOCOLS {
        let proxy = nginx::Nginx::unavailable();
        let (grpc, http) = (proxy.grpc_port(), proxy.http_port());
        let mut setting = Setting::new(protocol, if protocol == "grpc" { grpc } else { http }, &[]);
        setting.agent.wait_for("failed: ", 10);
        setting.write();
        setting.agent.wait_for_collections(2);
        assert!(setting.agent.lines_with("503") >= 10, "{}", setting.agent.log());
        drop(proxy);
        // That it is refused until the receiver is there would be one more thing to say.
        let receiver = Receiver::start_at(Kind::Mock, grpc, http);
        let exports = receiver.wait_for("an export after the outage", |exports| !exports.is_empty());
        assert_eq!(value(&exports[0], "process.disk.io", "disk.io.direction", "write"), setting.written());
        assert!(value(&exports[0], "m8refsvr.agent.export.failed", "", "") >= 10.0);
    }
}

const SILENT: Case = Case::new(
    "a receiver that never answers delays no collection, and gets the right totals when it answers again",
    &[Mock],
    silent,
);

fn silent() {
    for protocol in PROTOCOLS {
        let hanging = Broken::silent();
        let port = hanging.port();
        // So long that it does not end before the test does.
        let mut setting = Setting::new(protocol, port, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")]);
        setting.agent.wait_for_collections(20);
        assert_eq!(hanging.connections(), 1, "one export is on its way, and waits");
        assert_eq!(setting.agent.lines_with("failed: "), 0);
        setting.write();
        setting.agent.wait_for_collections(2);
        drop(hanging);
        let other = Reserved::new().port;
        let (grpc, http) = if protocol == "grpc" { (port, other) } else { (other, port) };
        let receiver = Receiver::start_at(Kind::Mock, grpc, http);
        let exports = receiver.wait_for("an export after the outage", |exports| !exports.is_empty());
        assert_eq!(value(&exports[0], "process.disk.io", "disk.io.direction", "write"), setting.written());
        check_collections(&setting.agent, &exports[0]);
        // What became of a collection is known at the next.
        receiver.wait_for("the number of collections that were not exported", |exports| {
            exports.iter().any(|export| value(export, "m8refsvr.agent.export.dropped", "", "") >= 20.0)
        });
    }
}

/// Every moment at which a collection was due had one, or is counted as skipped.
fn check_collections(agent: &Agent, export: &Export) {
    let interval = (1e3 * INTERVAL.parse::<f64>().unwrap()).round();
    let at = export.points[0].time_ns as f64 / 1e6;
    // When each collection began, in milliseconds. The first is at the start, whenever that is.
    let log = agent.log();
    let collections = log.lines().filter_map(|line| Some((line, line.split_once("processes in ")?.1)));
    let began = collections.map(|(line, took)| {
        let logged_at = humantime::parse_rfc3339(line.split(' ').next().unwrap()).unwrap();
        let logged_at = logged_at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1e3;
        logged_at - took.trim_end_matches(" ms").parse::<f64>().unwrap()
    });
    let due: Vec<f64> =
        began.skip(1).take_while(|&began| began < at).map(|began| (began / interval).floor()).collect();
    let skipped = value(export, "m8refsvr.agent.collection.skipped", "", "");
    let passed = due[due.len() - 1] - due[0] + 1.0;
    let seen = due.len() as f64 + skipped;
    // Where the machine was too busy to begin in time, that is counted at the next collection.
    assert!((passed - seen).abs() <= 1.0, "{passed} were due, {} were taken, {skipped} skipped", due.len());
}

const CUTTING: Case = Case::new(
    "a receiver that cuts the connection gets the right totals when it does so no more",
    &[Mock],
    cutting,
);

fn cutting() {
    for protocol in PROTOCOLS {
        let broken = Broken::cutting();
        let port = broken.port();
        let mut setting = Setting::new(protocol, port, &[]);
        setting.agent.wait_for("the connection failed: ", 10);
        setting.write();
        setting.agent.wait_for_collections(2);
        assert!(broken.connections() >= 10);
        drop(broken);
        let other = Reserved::new().port;
        let (grpc, http) = if protocol == "grpc" { (port, other) } else { (other, port) };
        let receiver = Receiver::start_at(Kind::Mock, grpc, http);
        let exports = receiver.wait_for("an export after the outage", |exports| !exports.is_empty());
        assert_eq!(value(&exports[0], "process.disk.io", "disk.io.direction", "write"), setting.written());
    }
}

const FAILED_COLLECTION: Case =
    Case::new("a collection that fails is not exported, and the next is", &[Mock], failed_collection);

fn failed_collection() {
    let receiver = Receiver::start(Kind::Mock);
    let name = Name::new("unseen");
    let _process = name.start();
    let port = receiver.grpc_port().to_string();
    let place = ["--agent-host", "127.0.0.1", "--agent-port", &port];
    let loops = ["--interval", INTERVAL, "--ebpf", "off", "--process", name.text()];
    let agent = Agent::start(&[&loops[..], &place[..]].concat());
    receiver.wait_for("two exports", |exports| exports.len() >= 2);
    let pid = Pid::from_raw(agent.pid().try_into().unwrap());
    let enough = getrlimit(Resource::Nofile);
    // What is open stays open, the connection too.
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(3), ..enough }).unwrap();
    agent.wait_for("ERROR cannot read /proc", 1);
    std::thread::sleep(Duration::from_secs(1));
    let before = receiver.exports().len();
    prlimit(pid, Resource::Nofile, enough).unwrap();
    agent.wait_for("/proc can be read again, after ", 1);
    let exports = receiver.wait_for("exports again", |exports| exports.len() >= before + 2);
    let times: Vec<u64> = exports.iter().map(|export| export.points[0].time_ns).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "nothing arrives twice: {times:?}");
    assert!(value(&exports[exports.len() - 1], "m8refsvr.agent.collection.failed", "", "") >= 2.0);
}

const IDLE: Case = Case::new(
    "a receiver that ends idle connections just as they are used again is no failure",
    &[Nginx],
    idle,
);

fn idle() {
    // As long as an interval.
    let proxy = nginx::Nginx::answering("keepalive_timeout 100ms; return 200;");
    let port = proxy.http_port().to_string();
    let place = ["--protocol", "http/protobuf", "--agent-host", "127.0.0.1", "--agent-port", &port];
    let agents: Vec<Agent> = (0..4)
        .map(|_| Agent::start(&[&["--ebpf", "off", "--interval", "0.1"], &place[..]].concat()))
        .collect();
    for agent in &agents {
        agent.wait_for("processes in ", 100);
    }
    for agent in &agents {
        assert_eq!(agent.lines_with("failed: "), 0, "{}", agent.log());
    }
}

/// Bytes that a process has written, as the kernel says.
fn written(pid: u32) -> usize {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

/// Resident memory of a process between two exports, bytes: the least of some seconds, as during one it has more.
fn resident(pid: u32) -> usize {
    let times = (0..60).map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        resident_now(pid)
    });
    times.min().unwrap()
}

fn resident_now(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

const MEMORY: Case = Case::new("a thousand failed exports leave memory as it was", &[Nginx], memory);

fn memory() {
    const FAILED: usize = 1000;
    // What is allocated once, and at the first failures, has been by then.
    const WARM: usize = 100;
    let (proxy, hanging, cutting) = (nginx::Nginx::unavailable(), Broken::silent(), Broken::cutting());
    let nobody = Reserved::new();
    let name = Name::new("memory");
    let _process = name.start();
    // So long that an export does not fit into what the kernel keeps for a connection.
    let long = ["a", "b", "c"].map(|letter| letter.repeat(40_000));
    let places = [
        ("refused", "grpc", nobody.port),
        ("503", "http/protobuf", proxy.http_port()),
        ("503", "grpc", proxy.grpc_port()),
        ("hanging", "grpc", hanging.port()),
        ("reading no more", "http/protobuf", hanging.port()),
        ("cutting", "http/protobuf", cutting.port()),
    ];
    let agents = places.map(|(what, protocol, port)| {
        let port = port.to_string();
        let long =
            long.iter().filter(|_| what == "reading no more").flat_map(|pattern| ["--process", pattern]);
        let long: Vec<&str> = long.collect();
        let place = ["--protocol", protocol, "--agent-host", "127.0.0.1", "--agent-port", &port];
        let loops = ["--interval", "0.1", "--ebpf", "off", "--process", name.text()];
        // What is resident shall be what the agent holds: the C library's allocator else keeps what was freed, a heap
        // for each thread that ever built a request, and grows by one where another thread comes to do so.
        let variables = [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "90"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("MALLOC_ARENA_MAX", "1"),
            ("MALLOC_MMAP_THRESHOLD_", "65536"),
        ];
        let agent = Agent::start_with(&[&loops[..], &place[..], &long[..]].concat(), &variables);
        (what, protocol, agent)
    });
    let before = agents.each_ref().map(|(_, _, agent)| {
        agent.wait_for_long("failed: ", WARM);
        resident(agent.pid())
    });
    for ((what, protocol, agent), before) in agents.iter().zip(before) {
        agent.wait_for_long("failed: ", WARM + FAILED);
        let after = resident(agent.pid());
        let grown = after.saturating_sub(before);
        // Where requests are long, there may be two for a moment while one is given up, and the allocator keeps what it
        // got for that. A thousand of them would be gigabytes.
        let request = if *what == "reading no more" { LIMIT } else { 0 };
        assert!(grown <= (1 << 20) + request, "{what}, {protocol}: {before} bytes before, {after} after");
        if *what == "hanging" {
            // However long each attempt took, it is one thing to say.
            assert_eq!(agent.lines_with("WARN export to"), 1, "{}", agent.log());
        }
    }
}
