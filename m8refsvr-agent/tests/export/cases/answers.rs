//! Answers by which the agent has to act, or that no receiver should give.

use prost::Message as _;
use tonic_types::{ErrorDetails, StatusExt as _, pb};

use crate::{Case, Need, agent::Agent, nginx::Nginx};

pub(crate) const CASES: &[Case] = &[PANICKING, RETRY_INFO, RETRY_AFTER, REDIRECT, PAGE, GRPC_STATUS];

/// An agent that exports to a port.
fn start(protocol: &str, port: u16) -> Agent {
    let port = port.to_string();
    let place = ["--protocol", protocol, "--agent-host", "127.0.0.1", "--agent-port", &port];
    Agent::start(&[&["--interval", "0.2", "--ebpf", "off"], &place[..]].concat())
}

/// What nginx says as a server of gRPC does that has no message: all in the headers.
fn trailers_only(status: u8, headers: &str) -> String {
    format!("default_type application/grpc; add_header grpc-status {status}; {headers} return 200;")
}

const PANICKING: Case = Case::new(
    "an answer that makes tonic panic costs one export, and the agent goes on",
    &[Need::Nginx],
    panicking,
);

fn panicking() {
    let proxy = Nginx::answering(&trailers_only(14, "add_header grpc-status-details-bin '!';"));
    let mut agent = start("grpc", proxy.grpc_port());
    agent.wait_for("failed: the exporter failed by itself: ", 3);
    agent.wait_for_collections(2);
    assert!(agent.is_running());
    // Each collection was tried.
    proxy.wait_for_answers(3);
    assert_eq!(agent.lines_with("WARN export to"), 1, "{}", agent.log());
}

const RETRY_INFO: Case = Case::new(
    "a receiver that says over gRPC when to come back is asked then, and quoted",
    &[Need::Nginx],
    retry_info,
);

fn retry_info() {
    let details = ErrorDetails::with_retry_info(Some(std::time::Duration::from_secs(3600)));
    let status = tonic::Status::with_error_details(tonic::Code::ResourceExhausted, "too many", details);
    let details = pb::Status::decode(status.details()).unwrap().encode_to_vec();
    let details = base64(&details);
    let headers =
        format!("add_header grpc-message 'too%20many'; add_header grpc-status-details-bin '{details}';");
    let proxy = Nginx::answering(&trailers_only(8, &headers));
    let agent = start("grpc", proxy.grpc_port());
    agent.wait_for(
        "gRPC status ResourceExhausted: too many; next in 900 s, as more is not waited (it asked for 3600 s)",
        1,
    );
    agent.wait_for_collections(5);
    assert_eq!(agent.lines_with("failed: "), 1, "it was asked again: {}", agent.log());
}

/// As gRPC has it in headers, without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let padded = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let number = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        let digits = (0..=chunk.len()).map(|at| DIGITS[(number >> (18 - 6 * at)) as usize & 63]);
        text.extend(digits.map(char::from));
    }
    text
}

const RETRY_AFTER: Case = Case::new(
    "a receiver that says over HTTP when to come back is asked then, and at most 15 minutes later",
    &[Need::Nginx],
    retry_after,
);

fn retry_after() {
    let soon = Nginx::answering("add_header Retry-After 2 always; return 429;");
    let late = Nginx::answering("add_header Retry-After 3600 always; return 503;");
    let [soon_agent, late_agent] = [&soon, &late].map(|proxy| start("http/protobuf", proxy.http_port()));
    late_agent.wait_for("status 503", 1);
    assert_eq!(late_agent.lines_with("; next in 900 s, as more is not waited (it asked for 3600 s)"), 1);
    soon_agent.wait_for("; next in 2 s", 1);
    let collections = soon_agent.collections();
    soon_agent.wait_for("failed: ", 2);
    // Of ten collections in two seconds none was exported; a machine that is busy has fewer.
    assert!(soon_agent.collections() > collections, "{}", soon_agent.log());
    assert_eq!(late_agent.lines_with("failed: "), 1, "it was asked again: {}", late_agent.log());
}

const REDIRECT: Case = Case::new(
    "a redirect is not followed, and its place is named without what may be a secret",
    &[Need::Nginx],
    redirect,
);

fn redirect() {
    let proxy = Nginx::answering("return 307 https://elsewhere.invalid/otlp?key=secret;");
    let agent = start("http/protobuf", proxy.http_port());
    let expected = "status 307: it sends exports to https://elsewhere.invalid/otlp; the agent follows no redirects: give that place as --endpoint";
    agent.wait_for(expected, 1);
    assert!(!agent.log().contains("secret"), "{}", agent.log());
}

const PAGE: Case =
    Case::new("a page that comes as answer is no receiver, over both protocols", &[Need::Nginx], page);

fn page() {
    let proxy = Nginx::answering("default_type text/html; return 200 '<html>Welcome</html>';");
    for (protocol, port) in [("grpc", proxy.grpc_port()), ("http/protobuf", proxy.http_port())] {
        start(protocol, port).wait_for("a page came as answer: no OTLP receiver listens there", 1);
    }
}

const GRPC_STATUS: Case =
    Case::new("a status of gRPC is named, with what to do about it", &[Need::Nginx], grpc_status);

fn grpc_status() {
    for (status, words) in [
        (12, "gRPC status Unimplemented: no; check the port and --protocol"),
        (16, "gRPC status Unauthenticated: no; it may want a header in OTEL_EXPORTER_OTLP_HEADERS"),
        (13, "gRPC status Internal: no"),
    ] {
        let proxy = Nginx::answering(&trailers_only(status, "add_header grpc-message no;"));
        start("grpc", proxy.grpc_port()).wait_for(words, 1);
    }
}
