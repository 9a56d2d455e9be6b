//! The program as a user types it: exit codes and what is said where. Needs no rights.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs::File,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// A name that no process has.
const NOBODY: &str = "no-process-is-called-like-this";

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m8refsvr-agent"));
    command.args(arguments).env_remove("PROCESS_NAME").env_remove("LOG_LEVEL");
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = agent(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn no_match_is_exit_code_1_with_a_document_of_zeros() {
    let (code, out, said) = run(&["--once", "--ebpf", "off", "--sample", "0.01", "--process", NOBODY]);
    assert_eq!(code, Some(1));
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["metrics"]["process_count"], 0);
    assert_eq!(document["agent"]["sources"]["context_switches"], "procfs");
    assert_eq!(said, format!("m8refsvr-agent: No processes found matching '{NOBODY}'\n"));
}

#[test]
fn the_default_name_is_named_when_nothing_matches() {
    // Where such a process runs, there is nothing to see.
    let (code, out, said) = run(&["--run-once", "--ebpf", "off", "--sample", "0.01"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["process"], serde_json::json!(["M8RefSvr"]));
    if document["metrics"]["process_count"] == 0 {
        assert_eq!(code, Some(1));
        assert_eq!(said, "m8refsvr-agent: No processes found matching 'M8RefSvr'\n");
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_would_be_right() {
    let cases: [(&[&str], &str); 13] = [
        (&[], "--once"),
        (&["--once", "--sample", "0"], "give between 0.01 and 86400 seconds"),
        (&["--once", "--sample", "nan"], "give between 0.01 and 86400 seconds"),
        (&["--once", "--sample", "1s"], "give a number of seconds"),
        (&["--once", "--process", ""], "give a part of the name"),
        (&["--once", "--process", " "], "give a part of the name"),
        (&["--once", "--process", "/opt/M8RefSvr"], "give \"M8RefSvr\""),
        (&["--once", "--process-regex", "("], "unclosed group"),
        (&["--once", "--capacity", "0"], "from 1 to 65535"),
        (&["--once", "--ebpf", "maybe"], "auto, require, off"),
        (&["--once", "--log-level", "loud"], "trace, debug, info, warning, error, critical"),
        (&["--no-export"], "--once"),
        (&["debug", "dump", "--ebpf", "off", "--bpf-fs", "/nowhere"], "--ebpf off loads no programs"),
    ];
    for (arguments, right) in cases {
        let (code, out, said) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert_eq!(out, "", "{arguments:?}");
        assert!(said.contains(right), "{arguments:?}: {said}");
    }
}

#[test]
fn a_name_that_is_no_text_is_wrong_usage() {
    use std::os::unix::ffi::OsStrExt as _;
    let output = agent(&["--once", "--process"]).arg(std::ffi::OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("UTF-8"));
}

#[test]
fn the_variable_names_processes_and_the_flag_wins() {
    let process = |command: &mut Command| {
        let output = command.env("PROCESS_NAME", "no-process-a, no-process-b").output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["process"].clone()
    };
    let flags = ["--once", "--ebpf", "off", "--sample", "0.01"];
    assert_eq!(process(&mut agent(&flags)), serde_json::json!(["no-process-a", "no-process-b"]));
    assert_eq!(process(agent(&flags).args(["--process", NOBODY])), serde_json::json!([NOBODY]));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = agent(&["--once", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."]);
    let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = agent(&["--once", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"));
}

#[test]
fn kernel_threads_zombies_and_the_agent_never_match() {
    let (code, out, _) = run(&["--once", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."]);
    assert_eq!(code, Some(0));
    let document: Value = serde_json::from_str(&out).unwrap();
    for process in document["processes"].as_array().unwrap() {
        let name = process["name"].as_str().unwrap();
        assert!(!name.starts_with("kworker") && name != "kthreadd" && name != "m8refsvr-agent", "{name}");
    }
}

#[test]
fn a_sample_is_as_long_as_asked() {
    let (_, out, _) = run(&["--once", "--ebpf", "off", "--sample", "0.2", "--process", NOBODY]);
    let document: Value = serde_json::from_str(&out).unwrap();
    // Never shorter; how much longer depends on the machine.
    assert!(document["sample_seconds"].as_f64().unwrap() >= 0.2, "{document}");
}
