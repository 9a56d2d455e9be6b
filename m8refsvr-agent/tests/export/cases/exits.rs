//! Exits of processes as log records at a receiver that takes them, and at one that does not.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use m8refsvr_test_support::load::LoadProcess;
use m8refsvr_test_support::machine::memory_cgroup;
use rustix::process::Signal;

use crate::{
    Case,
    Need::{self, Bpf, CoreFiles, MemoryGroup, Mock, Rotel},
    agent::Agent,
    broken::Broken,
    cases::check::check_with,
    load::Name,
    nginx::Nginx,
    receiver::{Kind, Receiver, Record},
    server,
};

pub(crate) const CASES: &[Case] = &[
    ARRIVE_GRPC,
    ARRIVE_HTTP,
    ARRIVE_GRPC_CRASHED,
    ARRIVE_HTTP_CRASHED,
    ARRIVE_GRPC_OUT_OF_MEMORY,
    ARRIVE_HTTP_OUT_OF_MEMORY,
    ONLY_WHEN_ASKED,
    REFUSED_GRPC,
    REFUSED_HTTP,
    HANGING,
    CHECKED,
];

const EVENT: &str = "m8refsvr.process.exit";
/// Severities of OpenTelemetry's log data model.
const SEVERITY_INFO: u64 = 9;
const SEVERITY_WARN: u64 = 13;
const SEVERITY_ERROR: u64 = 17;
const SEVERITY_FATAL: u64 = 21;
/// Memory that each process has had, and that it has more than this program ever had, whose copy it was: of less the
/// kernel does not show whose it was.
fn eaten_mebibytes() -> u64 {
    let peak = procfs::process::Process::myself().unwrap().status().unwrap().vmhwm.unwrap();
    (peak >> 10) + 64
}

/// The kernel shows starts of processes in ticks of 10 ms, and the start of the machine in seconds.
const CLOCKS: Duration = Duration::from_millis(1100);

/// A way of ending, and what a record says of it.
struct End {
    by: fn(LoadProcess) -> ExitStatus,
    /// The exit status that the parent gets.
    status: (Option<i32>, Option<i32>),
    severity: u64,
    reason: &'static str,
    core_dumped: bool,
}

const NORMAL: End = End {
    by: |process| process.end_by("exit 0").unwrap(),
    status: (Some(0), None),
    severity: SEVERITY_INFO,
    reason: "normal",
    core_dumped: false,
};
const ERROR: End = End {
    by: |process| process.end_by("exit 3").unwrap(),
    status: (Some(3), None),
    severity: SEVERITY_WARN,
    reason: "error",
    core_dumped: false,
};
const KILLED: End = End {
    by: |process| process.kill(Signal::KILL).unwrap(),
    status: (None, Some(9)),
    severity: SEVERITY_ERROR,
    reason: "signal",
    core_dumped: false,
};
const CRASHED: End = End {
    by: |process| process.end_by("unlimited-core raise 11").unwrap(),
    status: (None, Some(11)),
    severity: SEVERITY_ERROR,
    reason: "signal",
    core_dumped: true,
};
const OUT_OF_MEMORY: End = End {
    by: out_of_memory,
    status: (None, Some(9)),
    severity: SEVERITY_FATAL,
    reason: "oom",
    core_dumped: false,
};

fn out_of_memory(mut process: LoadProcess) -> ExitStatus {
    let (root, limit) = memory_cgroup().unwrap();
    let group = root.join(format!("m8refsvr-export-{}-{}", std::process::id(), process.pid()));
    fs::create_dir(&group).unwrap();
    let eaten = eaten_mebibytes();
    fs::write(group.join(limit), (eaten << 20).to_string()).unwrap();
    process.run(&format!("join-cgroup {}", group.display()));
    let status = process.end_by(&format!("allocate {}", 2 * eaten)).unwrap();
    fs::remove_dir(&group).unwrap();
    status
}

/// What is known of a process beside how it ended.
struct Truth {
    pid: u32,
    created: SystemTime,
    /// It ran at least and at most so long.
    ran: [Duration; 2],
    /// It ended between these.
    ended: [SystemTime; 2],
    /// The most memory that it had until shortly before its end.
    peak_bytes: u64,
    /// At least so much.
    eaten_bytes: u64,
}

/// Starts a process, and ends it.
fn end(name: &Name, end: &End, agent: &Agent) -> Truth {
    let before_start = Instant::now();
    let mut process = name.start();
    let eaten = eaten_mebibytes();
    process.run(&format!("allocate {eaten}"));
    let after_start = Instant::now();
    // It is known by now, whichever way it was found.
    agent.wait_for_collections(2);
    let pid = process.pid();
    let of_kernel = procfs::process::Process::new(pid.cast_signed()).unwrap();
    let ticks = of_kernel.stat().unwrap().starttime as f64 / procfs::ticks_per_second() as f64;
    let booted = Duration::from_secs(procfs::boot_time_secs().unwrap());
    let created = UNIX_EPOCH + booted + Duration::from_secs_f64(ticks);
    let peak_bytes = of_kernel.status().unwrap().vmhwm.unwrap() * 1024;
    let (least, earliest) = (after_start.elapsed(), SystemTime::now());
    let status = (end.by)(process);
    assert_eq!((status.code(), status.signal()), end.status, "{status}");
    assert_eq!(status.core_dumped(), end.core_dumped, "{status}");
    let ran = [least, before_start.elapsed()];
    Truth { pid, created, ran, ended: [earliest, SystemTime::now()], peak_bytes, eaten_bytes: eaten << 20 }
}

fn port(receiver: &Receiver, protocol: &str) -> String {
    if protocol == "grpc" { receiver.grpc_port() } else { receiver.http_port() }.to_string()
}

/// The arguments of an agent that exports to a receiver; with a second group, so that a record has to name its own.
fn arguments<'a>(name: &'a Name, protocol: &'a str, port: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["--interval", "0.2", "--bpf-fs", "/nowhere", "--protocol", protocol];
    arguments.extend(["--agent-host", "127.0.0.1", "--agent-port", port]);
    arguments.extend(["--process", "no-such-process", "--process", name.text()]);
    arguments
}

const ARRIVE_GRPC: Case =
    Case::new("a normal exit, an error and a signal arrive as log records over gRPC", &[Bpf, Mock], || {
        arrive("grpc", &[NORMAL, ERROR, KILLED])
    });
const ARRIVE_HTTP: Case =
    Case::new("a normal exit, an error and a signal arrive as log records over HTTP", &[Bpf, Mock], || {
        arrive("http/protobuf", &[NORMAL, ERROR, KILLED])
    });
const ARRIVE_GRPC_CRASHED: Case =
    Case::new("a crash with a core arrives as a log record over gRPC", &[Bpf, Mock, CoreFiles], || {
        arrive("grpc", &[CRASHED])
    });
const ARRIVE_HTTP_CRASHED: Case =
    Case::new("a crash with a core arrives as a log record over HTTP", &[Bpf, Mock, CoreFiles], || {
        arrive("http/protobuf", &[CRASHED])
    });
const ARRIVE_GRPC_OUT_OF_MEMORY: Case = Case::new(
    "a process that the OOM killer ends arrives as a log record over gRPC",
    &[Bpf, Mock, MemoryGroup],
    || arrive("grpc", &[OUT_OF_MEMORY]),
);
const ARRIVE_HTTP_OUT_OF_MEMORY: Case = Case::new(
    "a process that the OOM killer ends arrives as a log record over HTTP",
    &[Bpf, Mock, MemoryGroup],
    || arrive("http/protobuf", &[OUT_OF_MEMORY]),
);

fn arrive(protocol: &str, ends: &[End]) {
    let receiver = Receiver::start(Kind::Mock);
    let name = Name::new("ends");
    let port = port(&receiver, protocol);
    let arguments = [&arguments(&name, protocol, &port)[..], &["--export-exits"]].concat();
    let mut agent = Agent::start_with(&arguments, &[("OTEL_SERVICE_NAME", "svc")]);
    agent.wait_for_collections(1);
    let truths: Vec<Truth> = ends.iter().map(|one| end(&name, one, &agent)).collect();
    let records = receiver.wait_for_records(ends.len());
    for (end, truth) in ends.iter().zip(&truths) {
        let pid = truth.pid.to_string();
        let mut of_process = records.iter().filter(|record| record.attributes["process.pid"] == pid);
        check(of_process.next().unwrap(), end, truth, &name);
        assert_eq!(of_process.next(), None, "once");
    }
    // Those that are on their way when it ends arrive too, and none comes twice.
    let last = end(&name, &ends[0], &agent);
    // The agent may learn of it a moment later than the parent.
    let level = if ends[0].severity == SEVERITY_INFO { "INFO" } else { "WARN" };
    agent.wait_for(&format!("{level} {} (pid {}) ", name.text(), last.pid), 1);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().0, Some(0), "{}", agent.log());
    let records = receiver.records();
    assert_eq!(records.len(), ends.len() + 1, "{records:#?}");
    check(records.last().unwrap(), &ends[0], &last, &name);
}

fn check(record: &Record, end: &End, truth: &Truth, name: &Name) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let resource = |attribute: &str| record.resource.get(attribute).map(String::as_str);
    assert_eq!(resource("service.name"), Some("svc"), "{record:#?}");
    assert_eq!(resource("host.name"), Some(host.as_str()), "{record:#?}");
    assert_eq!(resource("process.pid"), None, "of the process, not of its agent: {record:#?}");
    assert_eq!((record.event.as_str(), record.severity), (EVENT, end.severity), "{record:#?}");
    let ended = UNIX_EPOCH + Duration::from_nanos(record.time_ns);
    assert!((truth.ended[0] - CLOCKS..=truth.ended[1] + CLOCKS).contains(&ended), "{record:#?}");
    assert!(record.observed_ns == 0 || record.observed_ns >= record.time_ns, "{record:#?}");
    let words = &record.body;
    assert!(words.contains(name.text()) && words.contains(&truth.pid.to_string()), "{words}");

    let attribute = |attribute: &str| record.attributes.get(attribute).map(String::as_str);
    assert_eq!(attribute("process.executable.name"), Some(name.text()), "{record:#?}");
    assert_eq!(attribute("m8refsvr.group"), Some(name.text()), "{record:#?}");
    assert_eq!(attribute("m8refsvr.exit.reason"), Some(end.reason), "{record:#?}");
    let (code, signal) = (end.status.0.map(|code| code.to_string()), end.status.1.map(|it| it.to_string()));
    // A normal exit need not have it.
    let code_in_record = attribute("process.exit.code");
    assert!(
        code_in_record == code.as_deref() || (code_in_record.is_none() && end.reason == "normal"),
        "{record:#?}"
    );
    assert_eq!(attribute("m8refsvr.exit.signal"), signal.as_deref(), "{record:#?}");
    let core_dumped = attribute("m8refsvr.exit.core_dumped");
    assert_eq!(core_dumped == Some("true"), end.core_dumped, "{record:#?}");
    let created = humantime::parse_rfc3339(attribute("process.creation.time").unwrap()).unwrap();
    assert!((truth.created - CLOCKS..=truth.created + CLOCKS).contains(&created), "{record:#?}");
    let ran = Duration::from_secs_f64(attribute("m8refsvr.exit.run_time").unwrap().parse().unwrap());
    assert!((truth.ran[0]..=truth.ran[1] + CLOCKS).contains(&ran), "{:?}: {record:#?}", truth.ran);
    let peak: u64 = attribute("m8refsvr.exit.peak_rss").unwrap().parse().unwrap();
    assert!(peak >= truth.eaten_bytes, "{record:#?}");
    // What the kernel adds up for the highest value lags by some pages for each thread.
    assert!(peak + (1 << 20) >= truth.peak_bytes, "{}: {record:#?}", truth.peak_bytes);
}

const ONLY_WHEN_ASKED: Case = Case::new(
    "exits are log records where the standard variable says so and not by default",
    &[Bpf, Mock],
    only_when_asked,
);

fn only_when_asked() {
    for (variable, more, arrive) in [
        (None, &[][..], false),
        (Some("none"), &[], false),
        (Some("otlp"), &[], true),
        (Some("none"), &["--export-exits"], true),
    ] {
        let receiver = Receiver::start(Kind::Mock);
        let name = Name::new("asked");
        let port = port(&receiver, "grpc");
        let variables: Vec<_> = variable.map(|value| ("OTEL_LOGS_EXPORTER", value)).into_iter().collect();
        let arguments = [&arguments(&name, "grpc", &port)[..], more].concat();
        let mut agent = Agent::start_with(&arguments, &variables);
        agent.wait_for_collections(1);
        end(&name, &ERROR, &agent);
        agent.wait_for_collections(2);
        agent.signal(Signal::TERM);
        assert_eq!(agent.wait().0, Some(0), "{}", agent.log());
        // The metrics have arrived either way.
        assert!(!receiver.exports().is_empty());
        assert_eq!(receiver.records().len(), usize::from(arrive), "{variable:?}, {more:?}");
    }
}

const REFUSED_GRPC: Case =
    Case::new("a receiver that refuses log records costs no metric over gRPC", &[Bpf, Rotel], || {
        refused("grpc")
    });
const REFUSED_HTTP: Case =
    Case::new("a receiver that refuses log records costs no metric over HTTP", &[Bpf, Rotel], || {
        refused("http/protobuf")
    });

fn refused(protocol: &str) {
    const EXITS: usize = 5;
    let receiver = Receiver::start(Kind::RotelWithoutLogs);
    let name = Name::new("unheard");
    let port = port(&receiver, protocol);
    let arguments = [&arguments(&name, protocol, &port)[..], &["--export-exits"]].concat();
    let mut agent = Agent::start(&arguments);
    agent.wait_for_collections(1);
    for _ in 0..EXITS {
        end(&name, &ERROR, &agent);
    }
    agent.wait_for_collections(2);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().0, Some(0), "{}", agent.log());
    let exports = receiver.exports();
    let last = |end: &str| -> f64 {
        let points = &exports.last().unwrap().points;
        let values: Vec<f64> =
            points.iter().filter(|point| point.name.ends_with(end)).map(|point| point.value).collect();
        assert!(!values.is_empty(), "{end} did not arrive");
        values.iter().sum()
    };
    assert_eq!(last("m8refsvr.process.exits"), EXITS as f64);
    assert_eq!(last("agent.export.failed"), 0.0);
    // Each collection was exported, or dropped for a newer one. Whether that happened to the last one is in no export.
    let (dropped, collections) = (last("agent.export.dropped"), agent.collections() as f64);
    let arrived = exports.len() as f64;
    assert!(arrived + dropped + 1.0 >= collections, "{arrived} and {dropped} of {collections}");
    // Logged once, with its status and what is lost.
    let log = agent.log();
    let status = if protocol == "grpc" { "unimplemented" } else { "404" };
    let warnings = log.lines().filter_map(|line| line.split_once(" WARN ")).map(|(_, words)| words);
    let of_status = |words: &&str| words.to_lowercase().contains(status) && !words.contains(name.text());
    let printed: Vec<_> = warnings.filter(of_status).collect();
    assert_eq!(printed.len(), 1, "{printed:?}: {log}");
    assert!(!log.contains("WARN export to"), "{log}");
}

const HANGING: Case = Case::new(
    "log records that hang delay no metric, and the agent ends in time with exit code 0",
    &[Bpf, Mock, Need::Nginx],
    hanging,
);

fn hanging() {
    for protocol in ["grpc", "http/protobuf"] {
        let (receiver, silent) = (Receiver::start(Kind::Mock), Broken::silent());
        let proxy = Nginx::with_logs_at(&receiver, silent.port());
        let port = if protocol == "grpc" { proxy.grpc_port() } else { proxy.http_port() }.to_string();
        let name = Name::new("hanging");
        let arguments = [&arguments(&name, protocol, &port)[..], &["--export-exits"]].concat();
        let mut agent = Agent::start(&arguments);
        agent.wait_for_collections(1);
        end(&name, &ERROR, &agent);
        server::wait_for(
            "a request with log records",
            || (silent.connections() > 0).then_some(()),
            || agent.log(),
        );
        let before = receiver.exports().len();
        receiver.wait_for("metrics meanwhile", |exports| exports.len() >= before + 5);
        agent.signal(Signal::TERM);
        let (code, took) = agent.wait();
        assert_eq!(code, Some(0), "{}", agent.log());
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(agent.lines_with("INFO stopped"), 1, "{}", agent.log());
    }
}

const CHECKED: Case = Case::new(
    "check tries the way of log records where they leave, and only that where metrics don't",
    &[Mock, Rotel],
    checked,
);

fn checked() {
    for protocol in ["grpc", "http/protobuf"] {
        let check = |kind, more: &[&str], variables: &[(&str, &str)]| {
            let receiver = Receiver::start(kind);
            let port = port(&receiver, protocol);
            let place = ["--protocol", protocol, "--agent-host", "127.0.0.1", "--agent-port", &port];
            let arguments = [&place[..], more].concat();
            let (code, found) = check_with(&arguments, variables);
            (code, found.into_iter().map(|found| (found.check, found.mark)).collect::<BTreeMap<_, _>>())
        };
        let (code, found) = check(Kind::Mock, &["--export-exits"], &[]);
        assert_eq!((code, found["export"].as_str(), found["log records"].as_str()), (Some(0), "ok", "ok"));
        let (code, found) = check(Kind::Mock, &[], &[]);
        assert_eq!((code, found.get("log records")), (Some(0), None));
        let (code, found) = check(Kind::Mock, &["--export-exits"], &[("OTEL_METRICS_EXPORTER", "none")]);
        assert_eq!((code, found.get("export"), found["log records"].as_str()), (Some(0), None, "ok"));
        let (code, found) = check(Kind::RotelWithoutLogs, &["--export-exits"], &[]);
        assert_eq!(
            (code, found["export"].as_str(), found["log records"].as_str()),
            (Some(3), "ok", "failure")
        );
    }
}
