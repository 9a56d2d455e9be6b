//! Sending a request by hand, so that what a receiver shows can be checked without the agent.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
    metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
};
use prost::Message as _;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tonic::codec::CompressionEncoding;

use crate::{
    certificates::Identity,
    server::{PATIENCE, loopback},
};

/// The path of metrics over HTTP.
const METRICS: &str = "/v1/metrics";

/// Over HTTP; the status of the answer.
pub(crate) fn http(port: u16, request: &ExportMetricsServiceRequest) -> u16 {
    post(connect(port), METRICS, "", &request.encode_to_vec())
}

/// Log records over HTTP; the status of the answer.
pub(crate) fn http_logs(port: u16, request: &ExportLogsServiceRequest) -> u16 {
    post(connect(port), "/v1/logs", "", &request.encode_to_vec())
}

/// Over HTTP, compressed.
pub(crate) fn http_gzip(port: u16, request: &ExportMetricsServiceRequest) -> u16 {
    let mut body = GzEncoder::new(Vec::new(), Compression::default());
    body.write_all(&request.encode_to_vec()).unwrap();
    post(connect(port), METRICS, "Content-Encoding: gzip\r\n", &body.finish().unwrap())
}

/// The body of an answer over HTTP, which must be a success.
pub(crate) fn get(port: u16, path: &str) -> String {
    let mut stream = connect(port);
    // By HTTP 1.0 the body is in one piece, and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1);
    assert!(status.is_some_and(|status| status.starts_with('2')), "GET {path}: {answer}");
    body.to_owned()
}

/// Over HTTP by a proxy that passes on the request; the status of the answer.
pub(crate) fn http_by_proxy(
    proxy: u16,
    url: &str,
    headers: &str,
    request: &ExportMetricsServiceRequest,
) -> u16 {
    post(connect(proxy), url, headers, &request.encode_to_vec())
}

/// Over HTTP in a proxy's tunnel; the status of the answer, or of the proxy's where it makes no tunnel.
pub(crate) fn http_by_tunnel(
    proxy: u16,
    authority: &str,
    headers: &str,
    request: &ExportMetricsServiceRequest,
) -> u16 {
    let mut stream = connect(proxy);
    let ask = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{headers}\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    match status(&answer) {
        Some(200) => post(stream, METRICS, "", &request.encode_to_vec()),
        status => status.unwrap(),
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(loopback(port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A POST over any stream; the status of the answer.
fn post(mut stream: impl Read + Write, path: &str, headers: &str, body: &[u8]) -> u16 {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-protobuf\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    // A server that ends TLS without saying so has answered all the same.
    let end = stream.read_to_end(&mut answer);
    status(&answer)
        .unwrap_or_else(|| panic!("no answer of HTTP: {:?}, {end:?}", String::from_utf8_lossy(&answer)))
}

/// The status of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

/// Over gRPC, compressed or not.
pub(crate) fn grpc(
    port: u16,
    request: ExportMetricsServiceRequest,
    compression: Option<CompressionEncoding>,
) -> Result<(), tonic::Status> {
    runtime().block_on(async {
        let client = MetricsServiceClient::connect(format!("http://127.0.0.1:{port}")).await.unwrap();
        let mut client = match compression {
            Some(compression) => client.send_compressed(compression),
            None => client,
        };
        client.export(request).await.map(|_| ())
    })
}

/// Log records over gRPC.
pub(crate) fn grpc_logs(port: u16, request: ExportLogsServiceRequest) -> Result<(), tonic::Status> {
    runtime().block_on(async {
        let mut client = LogsServiceClient::connect(format!("http://127.0.0.1:{port}")).await.unwrap();
        client.export(request).await.map(|_| ())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Over HTTP with TLS, to a server of `authority`'s; the status of the answer, or why there was no connection.
pub(crate) fn https(
    port: u16,
    request: &ExportMetricsServiceRequest,
    authority: &Path,
    identity: Option<&Identity>,
) -> Result<u16, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        Some(Identity { certificate, key }) => {
            let certificate = CertificateDer::from_pem_file(certificate).unwrap();
            config
                .with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_file(key).unwrap())
                .unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = connect(port);
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(post(StreamOwned::new(connection, stream), METRICS, "", &request.encode_to_vec()))
}
