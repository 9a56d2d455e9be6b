//! One document: what is in it, where it is printed, and with which exit code.

use std::{
    fs::{self, File},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{NOBODY, agent, run, run_with};

#[test]
fn no_match_is_exit_code_1_with_a_document_of_sums_of_0() {
    let (code, out, printed) =
        run(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.01", "--process", NOBODY]);
    assert_eq!(code, Some(1));
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["metrics"]["process_count"], 0);
    assert_eq!(document["agent"]["sources"]["context_switches"], "procfs");
    assert_eq!(printed, format!("m8refsvr-agent: No processes found matching '{NOBODY}'\n"));
}

#[test]
fn the_default_name_is_named_when_nothing_matches() {
    // Where such a process runs, there is nothing to see.
    let (code, out, printed) = run(&["--run-once", "--no-export", "--ebpf", "off", "--sample", "0.01"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["process"], serde_json::json!(["M8RefSvr"]));
    if document["metrics"]["process_count"] == 0 {
        assert_eq!(code, Some(1));
        assert_eq!(printed, "m8refsvr-agent: No processes found matching 'M8RefSvr'\n");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command =
        agent(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."]);
    let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command =
        agent(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"));
}

#[test]
fn kernel_threads_zombies_and_the_agent_never_match() {
    let (code, out, _) =
        run(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."]);
    assert_eq!(code, Some(0));
    let document: Value = serde_json::from_str(&out).unwrap();
    for process in document["processes"].as_array().unwrap() {
        let name = process["name"].as_str().unwrap();
        assert!(!name.starts_with("kworker") && name != "kthreadd" && name != "m8refsvr-agent", "{name}");
    }
}

#[test]
fn a_sample_is_as_long_as_asked() {
    let (_, out, _) =
        run(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.2", "--process", NOBODY]);
    let document: Value = serde_json::from_str(&out).unwrap();
    // Never shorter; how much longer depends on the machine.
    assert!(document["sample_seconds"].as_f64().unwrap() >= 0.2, "{document}");
}

#[test]
fn where_nothing_is_exported_it_is_said_and_nothing_is_tried() {
    let place = ["--agent-host", "127.0.0.1", "--agent-port", "1", "--ebpf", "off"];
    for (name, value) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")] {
        let off_by = format!("nothing is exported: {name}={value}");
        let flags = ["--once", "--sample", "0.01", "--process-regex", "."];
        let (code, out, printed) = run_with(&[&flags[..], &place].concat(), &[(name, value)]);
        assert_eq!(code, Some(0), "{printed}");
        assert!(serde_json::from_str::<Value>(&out).is_ok());
        assert_eq!(printed, format!("m8refsvr-agent: {off_by}\n"));

        let (code, out, _) = run_with(&[&["check", "--json"][..], &place].concat(), &[(name, value)]);
        assert_eq!(code, Some(0), "{out}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        let last = answer["checks"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["check"], &last["mark"]), (&"receiver".into(), &"warning".into()));
        assert_eq!(last["found"], format!("not tried, as {off_by}"));

        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut running = agent(&place);
        running.args(["--interval", "0.1", "--log-level", "debug", "--log-file"]).arg(&log).env(name, value);
        let mut running = running.spawn().unwrap();
        let printed = || fs::read_to_string(&log).unwrap_or_default();
        let end = Instant::now() + Duration::from_secs(60);
        while !printed().contains(&off_by) && Instant::now() < end {
            assert_eq!(running.try_wait().unwrap(), None, "{}", printed());
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = rustix::process::Pid::from_child(&running);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(0), "{}", printed());
        assert!(!printed().contains(" processes in ") && printed().contains("stopped"), "{}", printed());
    }
}

#[test]
fn a_failed_export_is_exit_code_3_and_the_document_is_printed_all_the_same() {
    let flags = ["--once", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."];
    for protocol in ["grpc", "http/protobuf"] {
        let more = ["--protocol", protocol, "--agent-host", "127.0.0.1", "--agent-port", "1"];
        let (code, out, printed) = run(&[&flags[..], &more[..]].concat());
        assert_eq!(code, Some(3), "{printed}");
        assert!(
            serde_json::from_str::<Value>(&out).unwrap()["metrics"]["process_count"].as_u64().unwrap() > 0
        );
        assert_eq!(printed.lines().count(), 1, "{printed}");
        assert!(printed.contains("127.0.0.1:1/") && printed.contains("connection refused"), "{printed}");
    }
}
