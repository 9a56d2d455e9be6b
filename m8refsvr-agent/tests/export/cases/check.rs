//! `check`: what it says of the way to the receiver, with real ones at its end.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    Case,
    Need::{Mock, Nginx},
    agent::command,
    certificates::Certificates,
    nginx,
    receiver::{Kind, Receiver},
    server::Reserved,
};

pub(crate) const CASES: &[Case] = &[STEPS, IN_FORCE, WRONG_SETTINGS];

/// What was found of one thing.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) check: String,
    pub(super) mark: String,
    words: String,
}

/// Exit code, and what was found.
fn check(arguments: &[&str]) -> (Option<i32>, Vec<Found>) {
    check_with(arguments, &[])
}

/// The same with variables.
pub(super) fn check_with(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, Vec<Found>) {
    let mut command = command(&[&["check", "--json", "--ebpf", "off"], arguments].concat());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = answer["checks"].as_array().unwrap().iter().map(|one| {
        let text = |field: &str| one[field].as_str().unwrap().to_owned();
        Found { check: text("check"), mark: text("mark"), words: text("found") }
    });
    let found: Vec<Found> = found.collect();
    let is_ready = !found.iter().any(|found| found.mark == "failure");
    assert_eq!(
        (answer["is_ready"].as_bool(), output.status.success()),
        (Some(is_ready), is_ready),
        "{answer}"
    );
    (output.status.code(), found)
}

pub(super) fn assert_found(found: &[Found], check: &str, mark: &str, words: &str) {
    let found = found.iter().find(|found| found.check == check).unwrap();
    assert!(found.mark == mark && found.words.contains(words), "{check}: {} {}", found.mark, found.words);
}

const STEPS: Case =
    Case::new("check goes all the way to the receiver, and names the step that fails", &[Mock, Nginx], steps);

fn steps() {
    let certificates = Certificates::new();
    let receiver = Receiver::start(Kind::Mock);
    let proxy = nginx::Nginx::tls(&receiver, &certificates.server(), None);
    let refusing = nginx::Nginx::unavailable();
    let nobody = Reserved::new();
    let grpc = ("grpc", receiver.grpc_port(), proxy.grpc_port(), refusing.grpc_port());
    let http = ("http/protobuf", receiver.http_port(), proxy.http_port(), refusing.http_port());
    for (protocol, plain, tls, refused) in [grpc, http] {
        let at = |port: u16, more: &[&str]| {
            let port = port.to_string();
            let place = ["--protocol", protocol, "--agent-host", "127.0.0.1", "--agent-port", &port];
            check(&[&place[..], more].concat())
        };
        let (code, found) = at(plain, &[]);
        assert_eq!(code, Some(0), "{protocol}: {found:?}");
        assert_found(&found, "receiver's name", "ok", "is at 127.0.0.1");
        assert_found(&found, "TLS", "ok", "not used");
        assert_found(&found, "export", "ok", "round trip ");

        let trusting = |path: &Path| at(tls, &["--tls", "--ca-cert", path.to_str().unwrap()]);
        let (code, found) = trusting(&certificates.authority());
        assert_eq!(code, Some(0), "{protocol}: {found:?}");
        assert_found(&found, "TLS", "ok", "TLS 1.3, the receiver's certificate is valid until ");
        assert_found(&found, "export", "ok", "round trip ");
        let (code, found) = trusting(&certificates.other_authority());
        assert_eq!(code, Some(3), "{protocol}: {found:?}");
        assert_found(&found, "TLS", "failure", "unknown authority: give that authority's with --ca-cert");
        assert_eq!(found.last().unwrap().check, "TLS");

        let (code, found) = at(refused, &[]);
        assert_eq!(code, Some(3), "{protocol}: {found:?}");
        assert_found(&found, "export", "failure", "503");
        let (code, found) = at(nobody.port, &[]);
        assert_eq!(code, Some(3), "{protocol}: {found:?}");
        assert_found(&found, "connection", "failure", "connection refused");
    }
    let expired = certificates.expired_client();
    let [certificate, key] = [&expired.certificate, &expired.key].map(|path| path.to_str().unwrap());
    let (code, found) = check(&["--tls", "--client-cert", certificate, "--client-key", key]);
    assert_eq!(code, Some(3), "{found:?}");
    assert_found(&found, "TLS", "failure", "expired at 2021-01-01T00:00:00Z: renew it");
    let (code, found) = check(&["--endpoint", "http://receiver.invalid:1"]);
    assert_eq!(code, Some(3));
    assert_found(&found, "receiver's name", "failure", "receiver.invalid can't be resolved");
}

const IN_FORCE: Case = Case::new("check names the settings that it tried", &[], in_force);

fn in_force() {
    let nobody = Reserved::new();
    let endpoint = format!("http://127.0.0.1:{}", nobody.port);
    let output = |arguments: &[&str]| {
        let mut command = command(&[&["check", "--ebpf", "off"], arguments].concat());
        command.envs([("PROCESS_NAME", "a, b"), ("COLLECTION_INTERVAL", "2.5")]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let answer: Value = serde_json::from_str(&output(&["--json", "--protocol", "http/protobuf"])).unwrap();
    let expected = json!({
        "process": ["a", "b"], "interval_seconds": 2.5, "protocol": "http/protobuf",
        "endpoint": format!("{endpoint}/v1/metrics"),
    });
    assert_eq!(answer["settings"], expected);
    let text = output(&["--ca-cert", "/nowhere"]);
    let mut lines = text.lines();
    let verdict = lines.next().unwrap();
    assert!(verdict.starts_with("not ready (1 failure, "), "{verdict}");
    let first = lines.by_ref().find(|line| !line.is_empty()).unwrap();
    assert!(first.starts_with("ok       settings "), "{first}");
    assert!(first.ends_with(&format!("matching 'a', 'b', every 2.5 s, to {endpoint}/ by grpc")), "{first}");
    let origin = |setting: &str, value: &str, origin: &str| {
        let row = text.lines().find(|line| line.starts_with(&format!("  {setting} "))).unwrap();
        assert!(row.contains(value) && row.ends_with(origin), "{row}");
    };
    origin("--process", "a, b", "  variable PROCESS_NAME");
    origin("--ebpf", "off", "  flag");
    origin("--protocol", "grpc", "  default");
    let second = lines.next().unwrap();
    assert!(second.starts_with("warning  settings ") && second.contains("give --tls"), "{second}");
    let wrong: Value = serde_json::from_str(&output(&["--json", "--endpoint", "no endpoint"])).unwrap();
    assert_eq!(wrong["settings"], json!({ "process": ["a", "b"], "interval_seconds": 2.5 }));
}

const WRONG_SETTINGS: Case = Case::new("check says of wrong settings what is wrong", &[], wrong_settings);

fn wrong_settings() {
    for (arguments, check_name, words) in [
        (&["--endpoint", "no endpoint"][..], "receiver", "is no endpoint"),
        (&["--client-cert", "/nowhere"], "receiver", "is given without --client-key"),
        (&["--tls", "--ca-cert", "/nowhere"], "TLS", "cannot read the certificate of an authority /nowhere"),
    ] {
        let (code, found) = check(arguments);
        assert_eq!(code, Some(2), "{words}");
        assert_found(&found, check_name, "failure", words);
    }
}
