//! One attempt to send: opentelemetry-otlp's exporters and opentelemetry-proto's generated client, over either protocol.
//! Both protocols share one connector with its TLS; the connection is kept open from one export to the next.

mod channel;
mod connections;
mod connector;
mod error;
pub(crate) mod grpc_events;
mod http;
mod proxy;
mod reason;
mod tls;
mod tls_probe;
mod tls_verifier;
mod tunnel;

use std::{any::Any, panic, sync::Arc, time::Duration};

use ::http::{HeaderMap, Uri};
use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{ExporterBuildError, LogExporter};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    logs::{LogBatch, LogExporter as _, SdkLogRecord},
    metrics::data::ResourceMetrics,
};
use rustls::ClientConfig;
use tokio::task::JoinSet;

use super::resource::Resource;
use channel::Grpc;
use connections::Connections;
use connector::Connector;
pub use connector::connect;
pub use error::ExportError;
use error::one_line;
use http::Http;
pub use proxy::{Proxy, ProxyError};
use reason::Reason;
use tls::Stamp;
pub use tls::{FileOfTls, Files, TlsError, authorities_in, key_in};
pub use tls_probe::{Presented, probe};

/// Where metrics and logs go on a receiver that speaks HTTP.
const METRICS: &str = "/v1/metrics";
const LOGS: &str = "/v1/logs";
/// Who we are to receivers.
const USER_AGENT: &str = concat!("m8refsvr-agent/", env!("CARGO_PKG_VERSION"));

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// By gzip.
    Gzip,
    /// Not at all.
    None,
}

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Over gRPC.
    Grpc,
    /// As protobuf over HTTP/1.1.
    HttpProtobuf,
}

impl Protocol {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }
}

/// Where requests go and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The protocol.
    pub protocol: Protocol,
    /// The receiver; with HTTP up to the path.
    pub endpoint: Uri,
    /// What is between.
    pub proxy: Option<Proxy>,
    /// TLS and its files; `None` without TLS.
    pub tls: Option<Files>,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// Headers of requests with logs.
    pub log_headers: HeaderMap,
    /// Compression of every request.
    pub compression: Compression,
    /// For one export, whatever it takes.
    pub timeout: Duration,
}

impl Target {
    /// The endpoint for people, and what is between.
    pub fn way(&self) -> String {
        let through = self.proxy.as_ref().map(|proxy| format!(" through the proxy {}", proxy.shown()));
        self.shown() + &through.unwrap_or_default()
    }

    /// Where logs go: over gRPC where metrics go. Over HTTP beside metrics, or at the root where those have a path of
    /// their own.
    fn log_endpoint(&self) -> Uri {
        if self.protocol == Protocol::Grpc {
            return self.endpoint.clone();
        }
        let query = self.endpoint.query().map(|query| format!("?{query}")).unwrap_or_default();
        let folder = self.endpoint.path().strip_suffix(METRICS).unwrap_or_default();
        let mut parts = self.endpoint.clone().into_parts();
        parts.path_and_query = format!("{folder}{LOGS}{query}").parse().ok();
        // The endpoint has a scheme and a host.
        Uri::from_parts(parts).unwrap_or_else(|_| self.endpoint.clone())
    }

    /// Whether the place of logs can be told from that of metrics.
    pub fn has_usual_place(&self) -> bool {
        self.protocol == Protocol::Grpc || self.endpoint.path().ends_with(METRICS)
    }

    /// The host of the endpoint, an address of IPv6 in brackets.
    fn host(&self) -> &str {
        self.endpoint.host().unwrap_or_default()
    }

    /// The endpoint for people: what may be a secret in it is masked.
    pub fn shown(&self) -> String {
        let text = self.endpoint.to_string();
        text.split_once('?').map_or(text.clone(), |(place, _)| format!("{place}?***"))
    }
}

/// Sends to one receiver.
#[derive(Debug)]
pub struct Client {
    target: Target,
    config: ClientConfig,
    /// Why nothing can be sent until the files are renewed, or their time comes.
    unusable: Option<TlsError>,
    stamp: Vec<Option<Stamp>>,
    connections: Connections,
    /// Whether something was sent since the last connection was begun.
    is_reused: bool,
    reason: Reason,
    wire: Result<Wire, String>,
    /// Who the log records are of, where it sends these.
    resource: Option<opentelemetry_sdk::Resource>,
}

/// Log records, each with its scope.
pub(super) type Records = Arc<Vec<(SdkLogRecord, InstrumentationScope)>>;

/// The clients of the protocol that is spoken.
#[derive(Clone, Debug)]
enum Wire {
    Grpc(Box<Grpc>),
    Http(Box<Http>),
}

/// What the receiver did not accept of a request that it accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// So many points.
    pub points: u64,
    /// For this reason; also a warning where all points were accepted.
    pub message: String,
}

impl Rejected {
    /// Adds those of another request of the same export.
    pub(super) fn add(&mut self, other: Self) {
        self.points += other.points;
        if !other.message.is_empty() {
            self.message = other.message;
        }
    }
}

impl From<ExportMetricsServiceResponse> for Rejected {
    fn from(response: ExportMetricsServiceResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self {
            points: u64::try_from(partial.rejected_data_points).unwrap_or_default(),
            message: one_line(&partial.error_message),
        }
    }
}

impl Client {
    /// Of metrics. An error when a file for TLS is not as it must be. One that is out of its time is as it must be, but
    /// nothing can be sent with it. Connects when it sends; to be made where tokio runs, as tonic has a task for each
    /// channel.
    pub fn new(target: Target) -> Result<Self, TlsError> {
        Self::with(target, None)
    }

    /// Of log records, as [`Self::new`]. A connection of their own: that of metrics is ended when it hangs, and with it
    /// what else is on its way.
    pub fn for_logs(target: &Target, resource: &Resource) -> Result<Self, TlsError> {
        let target =
            Target { endpoint: target.log_endpoint(), headers: target.log_headers.clone(), ..target.clone() };
        Self::with(target, Some(resource.for_sdk()))
    }

    fn with(target: Target, resource: Option<opentelemetry_sdk::Resource>) -> Result<Self, TlsError> {
        let stamp = target.tls.as_ref().map(Files::stamp).unwrap_or_default();
        let (config, unusable) = match target.tls.as_ref().map(Files::load) {
            Some(Err(error)) if error.is_of_time() => (tls::without()?, Some(error)),
            Some(config) => (config?, None),
            None => (tls::without()?, None),
        };
        let connections = Connections::default();
        let reason = Reason::default();
        let wire = Wire::new(&target, config.clone(), connections.clone(), reason.clone(), resource.as_ref());
        Ok(Self { target, config, unusable, stamp, connections, is_reused: false, reason, wire, resource })
    }

    /// Where it sends to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Why nothing can be sent until the files are renewed, or their time comes.
    pub fn unusable(&self) -> Option<&TlsError> {
        self.unusable.as_ref()
    }

    /// Takes up renewed files, and those of which the time has come. Where they can't be used, as when only one of two
    /// has been renewed yet, those from before stay in use, and the next call tries again.
    pub async fn renew(&mut self) -> Result<(), TlsError> {
        let Some(files) = self.target.tls.clone() else { return Ok(()) };
        let known = self.unusable.is_none().then(|| self.stamp.clone());
        // Files may lie where reading them hangs, and this thread has more to do.
        let read = tokio::task::spawn_blocking(move || {
            let stamp = files.stamp();
            if Some(&stamp) == known.as_ref() {
                return Ok(None);
            }
            files.load().map(|config| Some((stamp, config)))
        });
        match read.await.unwrap_or(Ok(None)) {
            Ok(Some((stamp, config))) => {
                self.config = config;
                self.stamp = stamp;
                let unusable = self.unusable.take();
                self.reconnect();
                match unusable {
                    None => tracing::info!("renewed certificates are in use"),
                    Some(_) => tracing::info!("the certificates are valid now, and in use"),
                }
                Ok(())
            }
            // It is told when something is to be sent.
            Err(error) if self.unusable.is_some() => {
                self.unusable = Some(error);
                Ok(())
            }
            outcome => outcome.map(|_| ()),
        }
    }

    /// Ends all connections; the next request opens one of its own.
    pub fn reconnect(&mut self) {
        self.connections.end();
        self.connections = Connections::default();
        self.is_reused = false;
        self.reason = Reason::default();
        let (connections, reason) = (self.connections.clone(), self.reason.clone());
        let resource = self.resource.as_ref();
        self.wire = Wire::new(&self.target, self.config.clone(), connections, reason, resource);
    }

    /// Exports what the SDK collected. It is the caller who ends the wait.
    pub async fn export(&mut self, metrics: &Arc<ResourceMetrics>) -> Result<Rejected, ExportError> {
        self.again_where_idle(|wire| wire.export(Arc::clone(metrics))).await
    }

    /// Exports log records. It is the caller who ends the wait.
    pub(crate) async fn export_logs(&mut self, records: &Records) -> Result<Rejected, ExportError> {
        self.again_where_idle(|wire| wire.export_logs(Arc::clone(records))).await
    }

    /// Makes a request, and once more where the connection had been used before: a receiver may end one that was idle
    /// just when it is used again.
    async fn again_where_idle<F>(&mut self, request: impl Fn(Wire) -> F) -> Result<Rejected, ExportError>
    where
        F: Future<Output = Result<Rejected, ExportError>> + Send + 'static,
    {
        let mut outcome = alone(request(self.wire()?)).await;
        if self.is_reused && matches!(outcome, Err(ExportError::Connection(_))) {
            self.reconnect();
            outcome = alone(request(self.wire()?)).await;
        }
        self.noted(outcome)
    }

    /// Sends a message, as soon after an export that its connection is not idle, or as the first. It is the caller who
    /// ends the wait.
    pub async fn send(&mut self, message: ExportMetricsServiceRequest) -> Result<Rejected, ExportError> {
        let outcome = alone(self.wire()?.send(message)).await;
        self.noted(outcome)
    }

    fn wire(&self) -> Result<Wire, ExportError> {
        if let Some(reason) = &self.unusable {
            return Err(ExportError::Tls(reason.to_string()));
        }
        self.wire.clone().map_err(ExportError::Broken)
    }

    /// What came of a request, with what is known besides of a connection that failed.
    fn noted(&mut self, outcome: Result<Rejected, ExportError>) -> Result<Rejected, ExportError> {
        let reason = match outcome {
            Err(ExportError::Connection(reason)) => reason,
            outcome => {
                if outcome.is_ok() {
                    self.is_reused = true;
                    // That of a connection before.
                    self.reason.take();
                }
                return outcome;
            }
        };
        let reason = match self.reason.take() {
            Some(ExportError::Connection(better)) => better,
            Some(known) => return Err(known),
            None => reason,
        };
        let protocol = match self.target.protocol {
            Protocol::Grpc => "gRPC",
            Protocol::HttpProtobuf => "HTTP",
        };
        let hint = match (self.is_reused, &self.target.tls) {
            (true, _) => String::new(),
            (false, None) => format!("; check that {protocol} without TLS is spoken there"),
            (false, Some(_)) => {
                format!("; check that {protocol} is spoken there, and which --client-cert is wanted")
            }
        };
        Err(ExportError::Connection(reason + &hint))
    }
}

impl Wire {
    fn new(
        target: &Target,
        config: ClientConfig,
        connections: Connections,
        reason: Reason,
        resource: Option<&opentelemetry_sdk::Resource>,
    ) -> Result<Self, String> {
        let connector = Connector::new(target, config, reason);
        let wire = match target.protocol {
            Protocol::Grpc => {
                Grpc::new(target, connector, connections, resource).map(|grpc| Self::Grpc(Box::new(grpc)))
            }
            Protocol::HttpProtobuf => {
                Http::new(target, connector, connections, resource).map(|http| Self::Http(Box::new(http)))
            }
        };
        wire.map_err(|error: ExporterBuildError| error.to_string())
    }

    async fn export_logs(self, records: Records) -> Result<Rejected, ExportError> {
        match self {
            Self::Grpc(grpc) => grpc.export_logs(records).await,
            Self::Http(http) => http.export_logs(records).await,
        }
    }

    async fn export(self, metrics: Arc<ResourceMetrics>) -> Result<Rejected, ExportError> {
        match self {
            Self::Grpc(grpc) => grpc.export(metrics).await,
            Self::Http(http) => http.export(metrics).await,
        }
    }

    async fn send(self, message: ExportMetricsServiceRequest) -> Result<Rejected, ExportError> {
        match self {
            Self::Grpc(grpc) => grpc.send(message).await,
            Self::Http(http) => http.send(message).await,
        }
    }
}

tokio::task_local! {
    /// That a request is made, whose panic is an error like any other.
    static ALONE: ();
}

/// An exporter of log records that are of this resource.
fn of_resource(
    exporter: Result<LogExporter, ExporterBuildError>,
    resource: &opentelemetry_sdk::Resource,
) -> Result<Arc<LogExporter>, ExporterBuildError> {
    let mut exporter = exporter?;
    exporter.set_resource(resource);
    Ok(Arc::new(exporter))
}

/// Exports log records by an exporter of opentelemetry-otlp; an error where there is none.
async fn export_records(exporter: Option<&LogExporter>, records: &Records) -> OTelSdkResult {
    let Some(exporter) = exporter else { return Err(OTelSdkError::AlreadyShutdown) };
    let records: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
    exporter.export(LogBatch::new(&records)).await
}

/// In a task of its own, which ends when nobody waits for it any more: tonic panics at some answers, such as one whose
/// `grpc-status-details-bin` is not base64.
async fn alone<T: Send + 'static>(
    request: impl Future<Output = Result<T, ExportError>> + Send + 'static,
) -> Result<T, ExportError> {
    let mut task = JoinSet::new();
    task.spawn(ALONE.scope((), request));
    match task.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => Err(ExportError::Broken(match error.try_into_panic() {
            Ok(panic) => one_line(panic_words(panic.as_ref())),
            Err(error) => error.to_string(),
        })),
        None => Err(ExportError::Broken("the task of the export is gone".into())),
    }
}

/// Keeps panics of requests from standard error: each is told as a failed export, and so once.
pub fn keep_panics_of_requests() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if ALONE.try_with(|()| ()).is_err() {
            others(panic);
        }
    }));
}

fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_records_go_beside_metrics() {
        let logs_of = |protocol, endpoint: &str| {
            let target = Target {
                protocol,
                endpoint: endpoint.parse().unwrap(),
                proxy: None,
                tls: None,
                headers: HeaderMap::new(),
                log_headers: HeaderMap::new(),
                compression: Compression::None,
                timeout: Duration::from_secs(1),
            };
            target.log_endpoint().to_string()
        };
        let http = |endpoint| logs_of(Protocol::HttpProtobuf, endpoint);
        assert_eq!(http("http://a:4318/v1/metrics"), "http://a:4318/v1/logs");
        assert_eq!(http("http://a/otlp/v1/metrics?b=c"), "http://a/otlp/v1/logs?b=c");
        assert_eq!(http("http://a/own"), "http://a/v1/logs");
        assert_eq!(logs_of(Protocol::Grpc, "http://a:4317/"), "http://a:4317/");
    }
}
