//! Protobuf over HTTP/1.1: an HTTP client for the exporters of opentelemetry-otlp. They have none that can use our
//! connector, and report only the status of a failed request. Ours keeps the whole outcome.

use std::{
    error::Error,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{client::legacy, rt::TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, RetryPolicy, WithExportConfig, WithHttpConfig,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter as _},
};
use prost::Message as _;

use super::{
    connections::Connections,
    connector::Connector,
    error::{ExportError, one_line},
    log_exporter::{Records, export_records, of_resource},
    partial_success::Rejected,
    receiver::{Compression, Receiver, USER_AGENT},
};

/// Bytes of a response's body that are read.
const BODY_LIMIT: usize = 64 << 10;
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
/// Messages of processes resemble each other: level 1 makes them two fifths longer, higher levels hardly shorter.
const LEVEL: Level = Level::new(2);

/// The clients of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Http {
    metrics: Arc<MetricExporter>,
    /// `None` in a client of metrics.
    logs: Option<Arc<LogExporter>>,
    sender: Sender,
    compression: Compression,
    endpoint: Uri,
}

impl Http {
    pub(super) fn new(
        receiver: &Receiver,
        connector: Connector,
        connections: Connections,
        resource: Option<&Resource>,
    ) -> Result<Self, ExporterBuildError> {
        let mut builder = legacy::Client::builder(connections);
        // The connection stays open from one export to the next, however long the interval is.
        builder.pool_idle_timeout(None).pool_timer(TokioTimer::new());
        let sender = Sender {
            client: builder.build(connector),
            headers: headers(receiver),
            host: receiver.host().into(),
            last: LastOutcome::default(),
        };
        let metrics = MetricExporter::builder().with_http().with_temporality(Temporality::Cumulative);
        let logs = LogExporter::builder().with_http();
        let (metrics, logs) = (configured(metrics, receiver, &sender), configured(logs, receiver, &sender));
        let logs = resource.map(|resource| of_resource(logs.build(), resource)).transpose()?;
        let (compression, endpoint) = (receiver.compression, receiver.endpoint.clone());
        Ok(Self { metrics: Arc::new(metrics.build()?), logs, sender, compression, endpoint })
    }

    pub(super) async fn export_logs(self, records: Records) -> Result<Rejected, ExportError> {
        let last = self.sender.last.clone();
        last.outcome_of(export_records(self.logs.as_deref(), &records)).await
    }

    pub(super) async fn export(self, metrics: Arc<ResourceMetrics>) -> Result<Rejected, ExportError> {
        let last = self.sender.last.clone();
        last.outcome_of(self.metrics.export(&metrics)).await
    }

    pub(super) async fn send(self, message: ExportMetricsServiceRequest) -> Result<Rejected, ExportError> {
        let plain = message.encode_to_vec();
        drop(message);
        let mut request = Request::post(self.endpoint);
        let body = match self.compression {
            Compression::None => plain,
            Compression::Gzip => {
                request = request.header(header::CONTENT_ENCODING, GZIP);
                let mut encoder = GzEncoder::new(Vec::new(), LEVEL);
                let written = encoder.write_all(&plain).and_then(|()| encoder.finish());
                written.map_err(|error| ExportError::Connection(error.to_string()))?
            }
        };
        let request = request.body(Bytes::from(body));
        let request = request.map_err(|error| ExportError::Connection(error.to_string()))?;
        let response = self.sender.post(request).await?;
        rejected(&response)
    }
}

/// An exporter that posts to the receiver by this client, with the receiver's timeout and compression.
fn configured<B: WithHttpConfig + WithExportConfig>(builder: B, receiver: &Receiver, sender: &Sender) -> B {
    let builder = builder
        .with_http_client(sender.clone())
        .with_endpoint(receiver.endpoint.to_string())
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_retry_policy(RetryPolicy::disabled())
        .with_timeout(receiver.timeout);
    match receiver.compression {
        Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
        Compression::None => builder,
    }
}

/// The headers of each request. A forwarding proxy gets its credentials with each; for a tunnel they are sent once.
fn headers(receiver: &Receiver) -> HeaderMap {
    let mut headers = receiver.headers.clone();
    let proxy = receiver.proxy.as_ref().filter(|_| !receiver.is_tunnelled());
    if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.clone()) {
        headers.insert(header::PROXY_AUTHORIZATION, authorization);
    }
    headers
}

/// The outcome of the last request of an exporter.
#[derive(Clone, Debug, Default)]
struct LastOutcome(Arc<Mutex<Option<Result<Rejected, ExportError>>>>);

impl LastOutcome {
    /// The outcome of an export by an exporter of opentelemetry-otlp.
    async fn outcome_of(&self, export: impl Future<Output = OTelSdkResult>) -> Result<Rejected, ExportError> {
        let outcome = export.await;
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // There is none where the exporter made no request.
        seen.unwrap_or_else(|| {
            outcome.map(|()| Rejected::default()).map_err(|error| ExportError::Connection(error.to_string()))
        })
    }
}

/// Posts requests, and keeps the outcome of the last one.
#[derive(Clone, Debug)]
struct Sender {
    client: legacy::Client<Connector, Full<Bytes>>,
    headers: HeaderMap,
    host: Arc<str>,
    last: LastOutcome,
}

impl Sender {
    /// Posts a request and returns a response of success. All headers but the encoding of the body are replaced by
    /// ours: the exporter adds headers from the environment.
    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExportError> {
        let (mut parts, body) = request.into_parts();
        let encoding = parts.headers.remove(header::CONTENT_ENCODING);
        parts.headers = self.headers.clone();
        parts.headers.extend(encoding.map(|encoding| (header::CONTENT_ENCODING, encoding)));
        parts.headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        parts.headers.insert(header::CONTENT_TYPE, PROTOBUF);
        let of_transport = |error: &(dyn Error + 'static)| ExportError::of_transport(error, &self.host);
        let response = self.client.request(Request::from_parts(parts, Full::new(body))).await;
        let (parts, body) = response.map_err(|error| of_transport(&error))?.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await;
        if !parts.status.is_success() {
            // A body that can't be read must not hide the status.
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            return Err(ExportError::of_response(parts.status, &parts.headers, &body));
        }
        // The request was accepted, even if the body can't be read.
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_else(|error| {
            tracing::debug!("the receiver's answer can't be read: {error}");
            Bytes::new()
        });
        Ok(Response::from_parts(parts, body))
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.post(request).await;
        let seen = outcome.as_ref().map_err(Clone::clone).and_then(rejected);
        *self.last.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(outcome?)
    }
}

/// Parses a response of success; the one to log records has the same fields. A web server or proxy that is no receiver
/// may answer with success too.
fn rejected(response: &Response<Bytes>) -> Result<Rejected, ExportError> {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let body = response.body();
    if kind == "text/html" || body.trim_ascii_start().starts_with(b"<") {
        return Err(ExportError::NoReceiver);
    }
    if body.is_empty() {
        return Ok(Rejected::default());
    }
    let is_protobuf = kind.is_empty() || kind.as_bytes() == PROTOBUF.as_bytes();
    match ExportMetricsServiceResponse::decode(body.clone()) {
        Ok(answer) if is_protobuf => Ok(answer.into()),
        // By its status the request was accepted.
        _ => {
            let message =
                format!("an answer that is not of OTLP ({kind}): {}", String::from_utf8_lossy(body));
            Ok(Rejected { points: 0, message: one_line(&message) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, body: &'static [u8]) -> Result<Rejected, ExportError> {
        let response = Response::builder().header(header::CONTENT_TYPE, kind);
        rejected(&response.body(Bytes::from_static(body)).unwrap())
    }

    #[test]
    fn only_an_answer_of_otlp_is_success_without_a_word() {
        let answer = b"\n\x0b\x08\x07\x12\x07too old";
        let seven = Rejected { points: 7, message: "too old".into() };
        assert_eq!(of("application/x-protobuf", answer), Ok(seven.clone()));
        assert_eq!(of("Application/X-Protobuf; charset=binary", answer), Ok(seven));
        for kind in ["application/x-protobuf", "text/plain", ""] {
            assert_eq!(of(kind, b""), Ok(Rejected::default()), "{kind}");
        }
        for (kind, body) in [
            ("Text/HTML; charset=utf-8", &b"Welcome"[..]),
            ("text/html", b""),
            ("", b" <!doctype html>login"),
        ] {
            assert_eq!(of(kind, body), Err(ExportError::NoReceiver), "{kind}");
        }
        for (kind, body) in
            [("text/plain", &b"ok"[..]), ("application/json", b"{\"partialSuccess\":{}}"), ("", b"\xff\xff")]
        {
            let rejected = of(kind, body).unwrap();
            assert!(
                rejected.points == 0 && rejected.message.starts_with("an answer that is not of OTLP"),
                "{rejected:?}"
            );
        }
    }
}
