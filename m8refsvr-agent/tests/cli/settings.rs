//! Variables beside flags, and how a wrong setting is named.

use std::process::Command;

use serde_json::Value;

use crate::{NOBODY, agent, run_with};

#[test]
fn the_variable_names_processes_and_the_flag_wins() {
    let process = |command: &mut Command| {
        let output = command.env("PROCESS_NAME", "no-process-a, no-process-b").output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["process"].clone()
    };
    let flags = ["--once", "--no-export", "--ebpf", "off", "--sample", "0.01"];
    assert_eq!(process(&mut agent(&flags)), serde_json::json!(["no-process-a", "no-process-b"]));
    assert_eq!(process(agent(&flags).args(["--process", NOBODY])), serde_json::json!([NOBODY]));
}

#[test]
fn variables_are_checked_as_flags_are_and_an_empty_one_is_not_set() {
    let printed = |name: &str, value: &str| {
        let flags = ["--once", "--ebpf", "off", "--sample", "0.01", "--agent-port", "1", "--process", NOBODY];
        let output = agent(&flags).env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (name, value, right) in [
        ("USE_TLS", "perhaps", "USE_TLS=perhaps: give one of true"),
        ("COLLECTION_INTERVAL", "10s", "COLLECTION_INTERVAL=10s: give a number of seconds"),
        ("COLLECTION_INTERVAL", "0.01", "COLLECTION_INTERVAL=0.01: give between 0.1 and 86400 seconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10s", "OTEL_METRIC_EXPORT_INTERVAL: \"10s\" is no interval"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL=loud: give one of trace, debug"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "PROTOCOL=http/json: give one of grpc, http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "OTEL_EXPORTER_OTLP_HEADERS: give name=value"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "give milliseconds"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd", "give gzip or none"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "no", "OTEL_EXPORTER_OTLP_INSECURE: \"no\" is neither"),
        (
            "OTEL_METRICS_EXPORTER",
            "console",
            "OTEL_METRICS_EXPORTER: \"console\" is not possible: give otlp or none",
        ),
        (
            "OTEL_LOGS_EXPORTER",
            "console",
            "OTEL_LOGS_EXPORTER: \"console\" is not possible: give otlp or none",
        ),
        ("OTEL_RESOURCE_ATTRIBUTES", "a", "give name=value"),
        ("HOST_PROC", "/", "HOST_PROC: / is not a /proc: mount the host's there, or leave out HOST_PROC"),
    ] {
        let (code, printed) = printed(name, value);
        assert_eq!(code, Some(2), "{name}: {printed}");
        assert!(printed.contains(right), "{name}: {printed}");
    }
    for name in
        ["USE_TLS", "COLLECTION_INTERVAL", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TIMEOUT"]
    {
        // As far as the export, to which nobody listens.
        assert_eq!(printed(name, "").0, Some(3), "{name}");
    }
}

#[test]
fn a_setting_is_named_as_it_was_given() {
    let flags = ["--once", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."];
    for (arguments, variables, right) in [
        (
            &["--interval", "10s"][..],
            &[("COLLECTION_INTERVAL", "often")][..],
            "'10s' for '--interval <SECONDS>'",
        ),
        // A URL may hold a password.
        (&[], &[("INSTANA_AGENT_PORT", "http://user:secret@a")], "INSTANA_AGENT_PORT=***: "),
        (&[], &[("PROCESS_NAME", "a,,b")], "PROCESS_NAME: a process name is empty"),
        (
            &["--tls"],
            &[("CA_CERT_PATH", "/no/such")],
            "CA_CERT_PATH: cannot read the certificate of an authority",
        ),
        (&["--tls", "--ca-cert", "/no/such"], &[], "--ca-cert: cannot read the certificate of an authority"),
        (
            &["--tls"],
            &[("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/a"), ("CLIENT_KEY_PATH", "/b")],
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: cannot read the client certificate /a",
        ),
        (
            &["--endpoint", "https://a:1"],
            &[("https_proxy", "socks5://user:secret@b")],
            "https_proxy=socks5://***@b: ",
        ),
    ] {
        let (code, _, printed) = run_with(&[&flags[..], arguments].concat(), variables);
        assert_eq!(code, Some(2), "{arguments:?} {variables:?}: {printed}");
        assert!(
            printed.contains(right) && !printed.contains("secret"),
            "{arguments:?} {variables:?}: {printed}"
        );
    }
}

#[test]
fn the_proxy_is_named_with_its_variable_and_without_its_credentials() {
    let arguments = ["check", "--ebpf", "off", "--endpoint", "https://receiver.invalid:1"];
    let proxy = ("HTTPS_PROXY", "http://user:secret@127.0.0.1:1");
    let (_, out, _) = run_with(&arguments, &[proxy]);
    let settings = out.lines().find(|line| line.starts_with("ok       settings ")).unwrap();
    let through =
        "to https://receiver.invalid:1/ by grpc through the proxy http://***@127.0.0.1:1 (HTTPS_PROXY)";
    assert!(settings.contains(through) && !out.contains("secret"), "{out}");
    let (_, out, _) = run_with(&[&arguments[..], &["--json"]].concat(), &[proxy]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["settings"]["proxy"], "http://***@127.0.0.1:1 (HTTPS_PROXY)");
    let (_, out, _) = run_with(&arguments, &[proxy, ("NO_PROXY", ".invalid")]);
    assert!(!out.contains("through the proxy"), "{out}");
}

#[test]
fn no_secret_is_in_the_settings_that_check_shows_however_wrong_they_are() {
    let secrets = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Basic secret=="),
        ("INSTANA_AGENT_HOST", "http://user:secret@host"),
        ("HTTPS_PROXY", "http://user:sec?secret@proxy:1"),
    ];
    for arguments in [&["check", "--ebpf", "off"][..], &["check", "--ebpf", "off", "--json"]] {
        for secret in secrets {
            let (_, out, printed) = run_with(arguments, &[secret]);
            assert!(
                out.contains(secret.0) && !out.contains("secret") && !printed.contains("secret"),
                "{out}{printed}"
            );
        }
    }
}

#[test]
fn variables_count_also_before_two_dashes() {
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://user:secret@127.0.0.1:1");
    let (code, out, printed) = run_with(&["--once", "--sample", "0.01", "--"], &[variable]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains(variable.0) && !format!("{out}{printed}").contains("secret"), "{printed}");
}
