//! A client of one receiver: makes requests, opens a new connection where the old one may be dead, and takes up renewed
//! files for TLS.

use std::sync::Arc;

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use rustls::ClientConfig;

use super::{
    channel::Grpc,
    connections::Connections,
    connector::Connector,
    error::ExportError,
    http::Http,
    last_error::LastError,
    log_exporter::Records,
    partial_success::Rejected,
    receiver::{Protocol, Receiver},
    request_task::isolated,
    tls::{self, Files, Stamp},
    tls_error::TlsError,
};
use crate::export::otlp::resource::Resource;

/// Sends to one receiver, over one connection.
#[derive(Debug)]
pub struct Client {
    receiver: Receiver,
    config: ClientConfig,
    /// Why nothing can be sent: a certificate is expired, or not valid yet.
    unusable: Option<TlsError>,
    stamp: Vec<Option<Stamp>>,
    connections: Connections,
    /// Whether a request succeeded over the current connection.
    is_reused: bool,
    last_error: LastError,
    wire: Result<Wire, String>,
    /// The resource of log records, in a client of these.
    resource: Option<opentelemetry_sdk::Resource>,
}

/// The client of one protocol.
#[derive(Clone, Debug)]
enum Wire {
    Grpc(Box<Grpc>),
    Http(Box<Http>),
}

impl Client {
    /// A client of metrics, which connects when it sends. An error where a file for TLS can't be used. A certificate
    /// that is expired or not valid yet is no error here, but fails each request. Must be called within a tokio
    /// runtime: tonic spawns a task for each channel.
    pub fn new(receiver: Receiver) -> Result<Self, TlsError> {
        Self::with(receiver, None)
    }

    /// A client of log records, as [`Self::new`]. They have a connection of their own, as the one of metrics is closed
    /// when it hangs, with all requests on it.
    pub fn for_logs(receiver: &Receiver, resource: &Resource) -> Result<Self, TlsError> {
        let receiver = Receiver {
            endpoint: receiver.log_endpoint(),
            headers: receiver.log_headers.clone(),
            ..receiver.clone()
        };
        Self::with(receiver, Some(resource.for_sdk()))
    }

    fn with(receiver: Receiver, resource: Option<opentelemetry_sdk::Resource>) -> Result<Self, TlsError> {
        let stamp = receiver.tls.as_ref().map(Files::stamp).unwrap_or_default();
        let (config, unusable) = match receiver.tls.as_ref().map(Files::load) {
            Some(Err(error)) if error.is_of_time() => (tls::without()?, Some(error)),
            Some(config) => (config?, None),
            None => (tls::without()?, None),
        };
        let connections = Connections::default();
        let last_error = LastError::default();
        let wire =
            Wire::new(&receiver, config.clone(), connections.clone(), last_error.clone(), resource.as_ref());
        Ok(Self {
            receiver,
            config,
            unusable,
            stamp,
            connections,
            is_reused: false,
            last_error,
            wire,
            resource,
        })
    }

    /// The receiver that it sends to.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Why nothing can be sent: a certificate is expired, or not valid yet.
    pub fn unusable(&self) -> Option<&TlsError> {
        self.unusable.as_ref()
    }

    /// Uses files that were renewed, and certificates that have become valid. Where they can't be used, as when only
    /// one of two files has been renewed yet, the previous ones stay in use, and the next call tries again.
    pub async fn renew(&mut self) -> Result<(), TlsError> {
        let Some(files) = self.receiver.tls.clone() else { return Ok(()) };
        let known = self.unusable.is_none().then(|| self.stamp.clone());
        // Reading may hang, as on a network file system. This thread must not wait for it.
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
            // The next request reports it.
            Err(error) if self.unusable.is_some() => {
                self.unusable = Some(error);
                Ok(())
            }
            outcome => outcome.map(|_| ()),
        }
    }

    /// Closes the connection. The next request opens a new one.
    pub fn reconnect(&mut self) {
        self.connections.end();
        self.connections = Connections::default();
        self.is_reused = false;
        self.last_error = LastError::default();
        let (connections, last_error) = (self.connections.clone(), self.last_error.clone());
        let resource = self.resource.as_ref();
        self.wire = Wire::new(&self.receiver, self.config.clone(), connections, last_error, resource);
    }

    /// Exports metrics that the SDK collected. The timeout is the caller's.
    pub async fn export(&mut self, metrics: &Arc<ResourceMetrics>) -> Result<Rejected, ExportError> {
        self.retry_if_reused(|wire| wire.export(Arc::clone(metrics))).await
    }

    /// Exports log records. The timeout is the caller's.
    pub(crate) async fn export_logs(&mut self, records: &Records) -> Result<Rejected, ExportError> {
        self.retry_if_reused(|wire| wire.export_logs(Arc::clone(records))).await
    }

    /// Makes a request. If it fails on a connection that was used before, makes it once more on a new one: a receiver
    /// may close an idle connection just when it is used again.
    async fn retry_if_reused<F>(&mut self, request: impl Fn(Wire) -> F) -> Result<Rejected, ExportError>
    where
        F: Future<Output = Result<Rejected, ExportError>> + Send + 'static,
    {
        let mut outcome = isolated(request(self.wire()?)).await;
        if self.is_reused && matches!(outcome, Err(ExportError::Connection(_))) {
            self.reconnect();
            outcome = isolated(request(self.wire()?)).await;
        }
        self.explained(outcome)
    }

    /// Sends a message. It is not retried: callers send it right after an export, when the connection is not idle, or
    /// as the first request. The timeout is the caller's.
    pub async fn send(&mut self, message: ExportMetricsServiceRequest) -> Result<Rejected, ExportError> {
        let outcome = isolated(self.wire()?.send(message)).await;
        self.explained(outcome)
    }

    fn wire(&self) -> Result<Wire, ExportError> {
        if let Some(reason) = &self.unusable {
            return Err(ExportError::Tls(reason.to_string()));
        }
        self.wire.clone().map_err(ExportError::Broken)
    }

    /// The outcome of a request. An error of the connection is replaced by the better one that the connector kept,
    /// with a hint.
    fn explained(&mut self, outcome: Result<Rejected, ExportError>) -> Result<Rejected, ExportError> {
        let reason = match outcome {
            Err(ExportError::Connection(reason)) => reason,
            outcome => {
                if outcome.is_ok() {
                    self.is_reused = true;
                    // An error that is kept now is of an earlier connection.
                    self.last_error.take();
                }
                return outcome;
            }
        };
        let reason = match self.last_error.take() {
            Some(ExportError::Connection(better)) => better,
            Some(known) => return Err(known),
            None => reason,
        };
        let protocol = match self.receiver.protocol {
            Protocol::Grpc => "gRPC",
            Protocol::HttpProtobuf => "HTTP",
        };
        let hint = match (self.is_reused, &self.receiver.tls) {
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
        receiver: &Receiver,
        config: ClientConfig,
        connections: Connections,
        last_error: LastError,
        resource: Option<&opentelemetry_sdk::Resource>,
    ) -> Result<Self, String> {
        let connector = Connector::new(receiver, config, last_error);
        let wire =
            match receiver.protocol {
                Protocol::Grpc => Grpc::new(receiver, connector, connections, resource)
                    .map(|grpc| Self::Grpc(Box::new(grpc))),
                Protocol::HttpProtobuf => Http::new(receiver, connector, connections, resource)
                    .map(|http| Self::Http(Box::new(http))),
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
