//! Wrong usage: exit code 2, and what would be right.

use crate::{NOBODY, agent, run};

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_would_be_right() {
    let cases: [(&[&str], &str); 24] = [
        (&["--instance", " "], "give a name without control characters"),
        (&["--instance", "a\nb"], "give a name without control characters"),
        (&["--interval", "0.01"], "give between 0.1 and 86400 seconds"),
        (&["--interval", "1m"], "give a number of seconds"),
        (&["--max-series-processes", "0"], "0 is not in 1.."),
        (&["--protocol", "http/json"], "grpc, http/protobuf"),
        (&["--endpoint", "ftp://a"], "neither http nor https"),
        (&["--agent-port", "0"], "0 is not in 1..=65535"),
        (&["--tls=maybe"], "give one of true, 1, yes, on, t, y"),
        (&["--tls", "--ca-cert", "/no/such/file"], "/no/such/file: No such file"),
        (&["--tls", "--client-cert", "/no/such/file"], "is given without --client-key"),
        (&["--log-file", "/no/such/folder/log"], "give another --log-file"),
        (&["--once", "--sample", "0"], "give between 0.01 and 86400 seconds"),
        (&["--once", "--sample", "nan"], "give between 0.01 and 86400 seconds"),
        (&["--once", "--sample", "1s"], "give a number of seconds"),
        (&["--once", "--process", ""], "give a part of the name"),
        (&["--once", "--process", " "], "give a part of the name"),
        (&["--once", "--process", "/opt/M8RefSvr"], "give \"M8RefSvr\""),
        (&["--once", "--process-regex", "("], "unclosed group"),
        (&["--once", "--max-tracked-processes", "0"], "from 1 to 65535"),
        (&["--once", "--ebpf", "maybe"], "auto, require, off"),
        (&["--once", "--log-level", "loud"], "trace, debug, info, warning, error, critical"),
        (&["--no-export"], "--once"),
        (&["debug", "dump", "--ebpf", "off", "--bpf-fs", "/nowhere"], "--ebpf off loads no BPF programs"),
    ];
    for (arguments, right) in cases {
        let (code, out, printed) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {printed}");
        assert_eq!(out, "", "{arguments:?}");
        assert!(printed.contains(right), "{arguments:?}: {printed}");
    }
}

#[test]
fn a_folder_that_is_no_proc_is_wrong_usage() {
    for folder in ["/nowhere", "/"] {
        let (code, out, printed) = run(&["--once", "--no-export", "--proc-root", folder]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{printed}");
        assert!(printed.contains(&format!("{folder} is not a /proc: mount the host's there")), "{printed}");
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
fn a_flag_by_its_earlier_name_is_taken_with_a_warning_that_names_the_new_one() {
    let flags = ["--once", "--no-export", "--ebpf", "off", "--sample", "0.01", "--process", NOBODY];
    let (code, _, printed) = run(&[&flags[..], &["--capacity=7", "--max-processes", "3"]].concat());
    assert_eq!(code, Some(1), "{printed}");
    for (old, new) in
        [("--capacity", "--max-tracked-processes"), ("--max-processes", "--max-series-processes")]
    {
        assert!(printed.contains(&format!(" WARN {old} was renamed to {new}: ")), "{printed}");
    }
    assert!(!run(&["--help"]).1.contains("--capacity"));
}

#[test]
fn each_command_s_help_lists_its_own_flags_and_ends_with_examples() {
    let help = |words: &[&str]| run(&[words, &["--help"]].concat()).1;
    let (all, check, dump) = (help(&[]), help(&["check"]), help(&["debug", "dump"]));
    let lists = |help: &str, flag: &str| help.lines().any(|line| line.trim_start().starts_with(flag));
    for (flag, of_all, of_check, of_dump) in [
        ("--process ", true, true, true),
        ("--endpoint ", true, true, false),
        ("--sample ", true, false, true),
        ("--interval ", true, false, false),
        ("--names ", true, false, false),
        ("--service", false, true, false),
        ("--agent ", false, false, true),
    ] {
        let listed = [&all, &check, &dump].map(|help| lists(help, flag));
        assert_eq!(listed, [of_all, of_check, of_dump], "{flag}");
    }
    for help in [all, check, dump] {
        assert!(help.rsplit("\n\n").next().unwrap().starts_with("Examples:\n"), "{help}");
    }
}
