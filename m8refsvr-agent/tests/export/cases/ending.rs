//! How the agent ends: on time, with a last export, whatever hangs.

use std::time::Duration;

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    io::ioctl_fionread,
    pipe::fcntl_setpipe_size,
    process::{Pid, Signal, kill_process},
};

use crate::{
    Case,
    Need::Mock,
    agent::{Agent, code_and_errors, command, run},
    broken::Broken,
    load::Name,
    receiver::{Kind, Receiver},
    server,
};

pub(crate) const CASES: &[Case] = &[
    LAST_EXPORT,
    WHOLE_INTERVAL,
    WHILE_THE_RECEIVER_HANGS,
    WHILE_THE_LOG_HANGS,
    NO_FILE,
    ONCE_WHILE_THE_RECEIVER_HANGS,
    TWICE,
];

/// As the product promises.
const END: Duration = Duration::from_secs(5);

fn start(name: &Name, protocol: &str, port: u16, interval: &str) -> Agent {
    let port = port.to_string();
    let place = ["--protocol", protocol, "--agent-host", "127.0.0.1", "--agent-port", &port];
    let loops = ["--interval", interval, "--ebpf", "off", "--process", name.text()];
    Agent::start(&[&loops[..], &place[..]].concat())
}

const LAST_EXPORT: Case = Case::new(
    "SIGTERM and SIGINT end the agent after a last collection and a last export",
    &[Mock],
    last_export,
);

fn last_export() {
    for (signal, protocol) in [(Signal::TERM, "grpc"), (Signal::INT, "http/protobuf")] {
        let receiver = Receiver::start(Kind::Mock);
        let name = Name::new("ending");
        let mut process = name.start();
        let port = if protocol == "grpc" { receiver.grpc_port() } else { receiver.http_port() };
        // No collection comes by itself after the one at the start.
        let mut agent = start(&name, protocol, port, "86400");
        receiver.wait_for("the first export", |exports| !exports.is_empty());
        process.run("burn-cpu 300");
        agent.signal(signal);
        let (code, took) = agent.wait();
        assert_eq!(code, Some(0), "{}", agent.log());
        assert!(took < END, "{took:?}");
        let exports = receiver.exports();
        assert_eq!(exports.len(), 2, "the first and the last");
        let used = exports[1].points.iter().filter(|point| point.name == "process.cpu.time");
        let used: f64 = used.map(|point| point.value).sum();
        // As counted in clock ticks, and with what it needed besides.
        assert!((0.28..0.35).contains(&used), "{used} s of CPU time in the last export");
    }
}

const WHOLE_INTERVAL: Case = Case::new(
    "the CPU utilization of the last export is that since the export before, not since a collection that was dropped",
    &[Mock],
    whole_interval,
);

fn whole_interval() {
    let receiver = Receiver::start(Kind::Mock);
    let name = Name::new("whole");
    let mut process = name.start();
    // Reports wait for the host's export delay: up to a quarter of the interval.
    let mut agent = start(&name, "grpc", receiver.grpc_port(), "4");
    let busy = std::thread::spawn(move || process.run("burn-cpu 9000"));
    receiver.wait_for("the first export", |exports| !exports.is_empty());
    agent.wait_for_collections(2);
    agent.signal(Signal::TERM);
    agent.wait();
    let exports = receiver.exports();
    let used = exports.last().unwrap().points.iter();
    let used: Vec<f64> = used
        .filter(|point| point.name == "process.cpu.utilization")
        .map(|point| point.value * std::thread::available_parallelism().unwrap().get() as f64)
        .collect();
    let sum: f64 = used.iter().sum();
    // A host whose export delay is next to nothing has exported the collection before.
    let dropped = agent.collections() - exports.len();
    assert!(dropped == 0 || (0.5..=1.05).contains(&sum), "{used:?}, {dropped} dropped: {}", agent.log());
    busy.join().unwrap();
}

const WHILE_THE_RECEIVER_HANGS: Case = Case::new(
    "SIGTERM ends the agent within five seconds while the receiver hangs",
    &[],
    while_the_receiver_hangs,
);

fn while_the_receiver_hangs() {
    for protocol in ["grpc", "http/protobuf"] {
        let hanging = Broken::silent();
        let name = Name::new("hanging");
        let mut agent = start(&name, protocol, hanging.port(), "0.2");
        agent.wait_for_collections(3);
        agent.signal(Signal::TERM);
        let (code, took) = agent.wait();
        assert_eq!(code, Some(0), "{}", agent.log());
        assert!(took < END, "{took:?}");
        assert_eq!(agent.lines_with("INFO stopped"), 1, "{}", agent.log());
        assert_eq!(
            hanging.connections(),
            2,
            "what was on its way was given up, and the last collection was tried"
        );
    }
}

const WHILE_THE_LOG_HANGS: Case =
    Case::new("SIGTERM ends the agent within five seconds while its log hangs", &[], while_the_log_hangs);

fn while_the_log_hangs() {
    let (reader, writer) = std::io::pipe().unwrap();
    fcntl_setpipe_size(&reader, 4096).unwrap();
    let mut command = command(&["--interval", "0.1", "--log-level", "trace", "--ebpf", "off"]);
    let mut process = command.stderr(writer).spawn().unwrap();
    drop(command);
    // Nobody reads what it says; once no line fits any more, whoever says one waits.
    let waits = || {
        let folder = format!("/proc/{}/task", process.id());
        let tasks = std::fs::read_dir(folder).unwrap();
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("wchan")).ok()).any(|place| {
            // As different kernels name it.
            ["anon_pipe_write", "pipe_write", "pipe_wait"].contains(&place.as_str())
        })
    };
    server::wait_for("a full pipe", || waits().then_some(()), || format!("{:?}", ioctl_fionread(&reader)));
    let start = std::time::Instant::now();
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    let code = process.wait().unwrap().code();
    let took = start.elapsed();
    assert_eq!(code, Some(5));
    assert!(took < END, "{took:?}");
}

const NO_FILE: Case = Case::new("what is no file is not read", &[], no_file);

fn no_file() {
    let folder = tempfile::tempdir().unwrap();
    let hanging = folder.path().join("hanging");
    // Opening it would hang until somebody writes.
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &hanging, FileType::Fifo, mode, 0).unwrap();
    let (code, printed) = run(&["--tls", "--ca-cert", hanging.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("it is not a file"), "{printed}");
}

const ONCE_WHILE_THE_RECEIVER_HANGS: Case = Case::new(
    "one export to a receiver that hangs is given up at the timeout",
    &[],
    once_while_the_receiver_hangs,
);

fn once_while_the_receiver_hangs() {
    const TIMEOUT: Duration = Duration::from_millis(700);
    for protocol in ["grpc", "http/protobuf"] {
        let hanging = Broken::silent();
        let port = hanging.port().to_string();
        let mut command = command(&["--once", "--sample", "0.01", "--ebpf", "off", "--protocol", protocol]);
        command.args(["--agent-host", "127.0.0.1", "--agent-port", &port, "--process", "export"]);
        let start = std::time::Instant::now();
        let (code, printed) =
            code_and_errors(&command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "700").output().unwrap());
        let took = start.elapsed();
        assert_eq!(code, Some(3), "{printed}");
        assert!(printed.contains("no answer within 700ms: the receiver hangs"), "{printed}");
        // Not as long as a connection takes to be given up.
        assert!(took >= TIMEOUT && took < END, "{took:?}");
    }
}

const TWICE: Case = Case::new("a second signal ends the agent at once", &[], twice);

fn twice() {
    let hanging = Broken::silent();
    let name = Name::new("twice");
    let mut agent = start(&name, "grpc", hanging.port(), "0.2");
    agent.wait_for_collections(1);
    agent.signal(Signal::INT);
    agent.wait_for("received SIGINT: stopping after a last collection and export", 1);
    // One that follows at once is taken for the same.
    agent.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(1100));
    assert!(agent.is_running(), "{}", agent.log());
    agent.signal(Signal::INT);
    assert_eq!(agent.wait().0, Some(130));
    assert_eq!(agent.lines_with("received a second signal"), 1, "{}", agent.log());
}
