//! What an administrator reads.

use std::{
    fs,
    io::Read as _,
    os::linux::fs::MetadataExt as _,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    Case,
    Need::{Mock, Nginx},
    agent::{Agent, command},
    load::Name,
    nginx,
    receiver::{Kind, Receiver},
};

pub(crate) const CASES: &[Case] =
    &[NO_PROCESSES, REOPENED, PRIORITIES, JSON, IN_FORCE, COMPRESSED, PARTIAL_SUCCESS, UNREACHABLE];

const NOWHERE: [&str; 6] = ["--ebpf", "off", "--agent-host", "127.0.0.1", "--agent-port", "1"];

const NO_PROCESSES: Case =
    Case::new("that no process matches is logged once, and once when one matches again", &[], no_processes);

fn no_processes() {
    let name = Name::new("comes");
    let quick = ["--interval", "0.1", "--process", name.text()];
    let agent = Agent::start(&[&NOWHERE[..], &quick[..]].concat());
    let nobody = format!("WARN No processes found matching '{}'", name.text());
    let one = format!("INFO 1 process matches '{}'", name.text());
    agent.wait_for_collections(5);
    let watched = name.start();
    agent.wait_for(&one, 1);
    agent.wait_for_collections(3);
    drop(watched);
    agent.wait_for(&nobody, 2);
    agent.wait_for_collections(3);
    assert_eq!((agent.lines_with(&nobody), agent.lines_with(&one)), (2, 1), "{}", agent.log());
}

const REOPENED: Case = Case::new("SIGHUP opens the log file again", &[], reopened);

fn reopened() {
    let agent = Agent::start(&[&NOWHERE[..], &["--interval", "0.1"]].concat());
    agent.wait_for_collections(1);
    let moved = agent.log_path().with_extension("1");
    fs::rename(agent.log_path(), &moved).unwrap();
    agent.signal(Signal::HUP);
    agent.wait_for("the log goes on in", 1);
    agent.wait_for_collections(2);
    let length = fs::metadata(&moved).unwrap().len();
    agent.wait_for_collections(3);
    assert_eq!(fs::metadata(&moved).unwrap().len(), length, "nothing is written to the old file");
}

/// Runs the agent until its log has a text, ends it, and returns the log.
fn log_until(mut process: Child, text: &str) -> String {
    let mut stderr = process.stderr.take().unwrap();
    let mut printed = String::new();
    let mut piece = [0; 4096];
    while !printed.contains(text) {
        let length = stderr.read(&mut piece).unwrap();
        assert!(length > 0, "{text} is not in the log: {printed}");
        printed.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    stderr.read_to_string(&mut printed).unwrap();
    process.wait().unwrap();
    printed
}

const PRIORITIES: Case = Case::new("under systemd each line begins with its priority", &[], priorities);

fn priorities() {
    let (reader, writer) = std::io::pipe().unwrap();
    let owned: std::os::fd::OwnedFd = reader.into();
    let metadata = fs::File::from(owned.try_clone().unwrap()).metadata().unwrap();
    let mut command =
        command(&[&NOWHERE[..], &["--interval", "0.2", "--process", "no-such-process"]].concat());
    command.env("JOURNAL_STREAM", format!("{}:{}", metadata.st_dev(), metadata.st_ino()));
    let mut process = command.stderr(writer).spawn().unwrap();
    drop(command);
    process.stderr = Some(owned.into());
    let printed = log_until(process, "connection refused");
    assert!(printed.lines().all(|line| line.starts_with("<6>") || line.starts_with("<4>")), "{printed}");
    assert!(printed.contains("\n<4>No processes found matching 'no-such-process'\n"), "{printed}");
    assert!(printed.starts_with("<6>m8refsvr-agent "), "{printed}");
}

const JSON: Case = Case::new("a log of JSON is a JSON object a line", &[], json);

fn json() {
    let mut command = command(&[&NOWHERE[..], &["--interval", "0.2", "--log-format", "json"]].concat());
    let printed = log_until(command.stderr(Stdio::piped()).spawn().unwrap(), "connection refused");
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["message"].is_string() && line["timestamp"].is_string(), "{line}");
        assert!(["INFO", "WARN"].contains(&line["level"].as_str().unwrap()), "{line}");
    }
}

const IN_FORCE: Case = Case::new(
    "the settings in force are logged at start, without secrets, and the header arrives",
    &[Nginx],
    in_force,
);

fn in_force() {
    let proxy = nginx::Nginx::answering("if ($http_api_key = 'se cret') { return 204; } return 403;");
    let place = ["--ebpf", "off", "--interval", "0.2", "--protocol", "http/protobuf", "--per-process"];
    let endpoint = format!("http://127.0.0.1:{}/otlp", proxy.http_port());
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=se%20cret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
    ];
    let agent = Agent::start_with(&place, &variables);
    let answers = proxy.wait_for_answers(2);
    assert!(answers.iter().all(|answer| answer.starts_with("204 ")), "{answers:?}");
    assert!(answers[0].ends_with("/otlp/v1/metrics"), "{answers:?}");
    let printed = format!(
        "exporting to {endpoint}/v1/metrics by http/protobuf, compression gzip, timeout 2.5 s, headers \
         api-key=***, names otel, series for each of 200 processes at most"
    );
    assert_eq!(agent.lines_with(&printed), 1, "{}", agent.log());
    assert!(!agent.log().contains("cret"), "{}", agent.log());
}

const COMPRESSED: Case = Case::new("requests are compressed unless they shall not be", &[Nginx], compressed);

fn compressed() {
    let asks = "if ($http_content_encoding = gzip) { return 403; }
        if ($http_grpc_encoding = gzip) { return 403; } return 404;";
    let proxy = nginx::Nginx::answering(asks);
    for (protocol, port) in [("grpc", proxy.grpc_port()), ("http/protobuf", proxy.http_port())] {
        let status = |compression: &str| {
            let port = port.to_string();
            let mut command =
                command(&["--once", "--sample", "0.01", "--ebpf", "off", "--protocol", protocol]);
            command.args(["--agent-host", "127.0.0.1", "--agent-port", &port]);
            command.env("OTEL_EXPORTER_OTLP_COMPRESSION", compression);
            crate::agent::code_and_errors(&command.output().unwrap()).1
        };
        for (compression, expected) in [("", "status 403"), ("gzip", "status 403"), ("none", "status 404")] {
            let printed = status(compression);
            assert!(printed.contains(expected), "{protocol}, {compression:?}: {printed}");
        }
    }
}

const PARTIAL_SUCCESS: Case =
    Case::new("data points that a receiver rejects are logged and counted", &[Mock, Nginx], partial_success);

fn partial_success() {
    // ExportMetricsServiceResponse { partial_success: { rejected_data_points: 7, error_message: "too old" } }
    let answer = "\n\u{b}\u{8}\u{7}\u{12}\u{7}too old";
    let proxy =
        nginx::Nginx::answering(&format!("default_type application/x-protobuf; return 200 \"{answer}\";"));
    let (port, quick) = (proxy.http_port().to_string(), ["--ebpf", "off", "--protocol", "http/protobuf"]);
    let place = ["--agent-host", "127.0.0.1", "--agent-port", &port];
    let agent = Agent::start(&[&quick[..], &place[..], &["--interval", "0.1"]].concat());
    let printed = "WARN the receiver did not accept 7 points of an export: too old";
    agent.wait_for(printed, 1);
    agent.wait_for_collections(5);
    assert_eq!(agent.lines_with(printed), 1, "{}", agent.log());
    let (code, once) = crate::agent::run(&[&["--once", "--sample", "0.01"], &quick[..], &place[..]].concat());
    // No process has the default name here, but that nothing was accepted weighs more.
    assert_eq!(code, Some(3), "{once}");
    assert!(once.contains("did not accept 7 points: too old"), "{once}");
    // A receiver that accepts all points is sent the count of those that were rejected before.
    let (grpc, http) = (proxy.grpc_port(), proxy.http_port());
    drop(proxy);
    let receiver = Receiver::start_at(Kind::Mock, grpc, http);
    let exports = receiver.wait_for("an export", |exports| !exports.is_empty());
    let mut rejected =
        exports[0].points.iter().filter(|point| point.name == "m8refsvr.agent.export.rejected_data_points");
    let rejected = rejected.next().unwrap().value;
    assert!(rejected >= 7.0 && rejected % 7.0 == 0.0, "{rejected} rejected points");
}

const UNREACHABLE: Case = Case::new(
    "a receiver that can't be reached is logged once, and once when it is back",
    &[Mock],
    unreachable,
);

fn unreachable() {
    let receiver = Receiver::start(Kind::Mock);
    let (grpc, http) = (receiver.grpc_port(), receiver.http_port());
    drop(receiver);
    let port = grpc.to_string();
    let agent = Agent::start(&[
        "--ebpf",
        "off",
        "--interval",
        "0.1",
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
    ]);
    agent.wait_for("failed: ", 10);
    let _receiver = Receiver::start_at(Kind::Mock, grpc, http);
    agent.wait_for("exports arrive again, after ", 1);
    assert_eq!(agent.lines_with("WARN export to"), 1, "{}", agent.log());
}
