//! One attempt to send requests, over gRPC or HTTP, with or without TLS. Both protocols share one HTTP client and one
//! TLS stack; the connection is kept open from one export to the next.

use std::time::Duration;

use ::http::{HeaderMap, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioTimer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use rustls::ClientConfig;
use tokio::time::Instant;

use super::{
    compression::{Compression, Message},
    connections::Connections,
    error::{ExportError, one_line},
    grpc, http,
    noted::{Connector, Note},
    proxy::Proxy,
    tls::{self, Files, Stamp, TlsError},
};

/// Bytes of an answer that are read.
pub(super) const ANSWER: usize = 64 << 10;
/// What it means when a page is the answer.
pub(super) const NO_RECEIVER: &str = "a page came as answer, no OTLP receiver listens there";
/// Who we are to receivers.
pub(super) const USER_AGENT: &str = concat!("m8refsvr-agent/", env!("CARGO_PKG_VERSION"));
/// After this time without a sign of life the kernel asks whether the other side still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);

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
    /// The proxy on the way there; `None` without one.
    pub proxy: Option<Proxy>,
    /// TLS and its files; `None` without TLS.
    pub tls: Option<Files>,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// Compression of every request.
    pub compression: Compression,
    /// For one export, whatever it takes.
    pub timeout: Duration,
}

impl Target {
    /// The endpoint for people: what may be a secret in it is masked.
    pub fn shown(&self) -> String {
        let text = self.endpoint.to_string();
        text.split_once('?').map_or(text.clone(), |(place, _)| format!("{place}?***"))
    }
}

/// Sends requests to one receiver.
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
    note: Note,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Grpc(Box<grpc::Sender>),
    Http(Box<http::Sender>),
}

/// What the receiver did not accept of a request that it accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// So many points.
    pub points: u64,
    /// For this reason; also a warning where all points were accepted.
    pub message: String,
}

impl Client {
    /// An error when a file for TLS is not as it must be. One that is out of its time is as it must be, but nothing can
    /// be sent with it. Connects when it sends.
    pub fn new(target: Target) -> Result<Self, TlsError> {
        let stamp = target.tls.as_ref().map(Files::stamp).unwrap_or_default();
        let (config, unusable) = match target.tls.as_ref().map(Files::load) {
            Some(Err(error)) if error.is_of_time() => (tls::without()?, Some(error)),
            Some(config) => (config?, None),
            None => (tls::without()?, None),
        };
        let connections = Connections::default();
        let note = Note::default();
        let transport = Transport::new(&target, config.clone(), connections.clone(), note.clone());
        Ok(Self { target, config, unusable, stamp, connections, is_reused: false, note, transport })
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
                self.reconnect();
                match self.unusable.take() {
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
        self.note = Note::default();
        let (connections, note) = (self.connections.clone(), self.note.clone());
        self.transport = Transport::new(&self.target, self.config.clone(), connections, note);
    }

    /// Sends a request; the receiver is told how long we wait, but it is the caller who ends the wait.
    pub async fn send(&mut self, message: &Message, deadline: Instant) -> Result<Rejected, ExportError> {
        if let Some(reason) = &self.unusable {
            return Err(ExportError::Tls(reason.to_string()));
        }
        let mut outcome = self.transport.send(&self.target, message, deadline).await;
        // A receiver may end a connection that was idle just when it is used again.
        if self.is_reused && matches!(outcome, Err(ExportError::Connection(_))) {
            self.reconnect();
            outcome = self.transport.send(&self.target, message, deadline).await;
        }
        let response = outcome.map_err(|error| self.explained(error))?;
        self.is_reused = true;
        let partial = response.partial_success.unwrap_or_default();
        Ok(Rejected {
            points: u64::try_from(partial.rejected_data_points).unwrap_or_default(),
            message: one_line(&partial.error_message),
        })
    }

    /// With what is known besides of a connection that failed.
    fn explained(&self, error: ExportError) -> ExportError {
        let ExportError::Connection(reason) = error else { return error };
        if let Some(tls) = self.note.take() {
            return ExportError::of_tls(&tls, self.target.endpoint.host().unwrap_or_default());
        }
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
        ExportError::Connection(reason + &hint)
    }
}

impl Transport {
    fn new(target: &Target, config: ClientConfig, connections: Connections, note: Note) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let mut builder = legacy::Client::builder(connections);
        // However long the interval is.
        builder.pool_idle_timeout(None).pool_timer(TokioTimer::new());
        let noted = |inner| Connector { inner, note };
        match target.protocol {
            Protocol::HttpProtobuf => {
                let client = builder.build(noted(https.enable_http1().wrap_connector(http)));
                Self::Http(Box::new(http::Sender(client)))
            }
            Protocol::Grpc => {
                let client = builder.http2_only(true).build(noted(https.enable_http2().wrap_connector(http)));
                Self::Grpc(Box::new(grpc::Sender(client)))
            }
        }
    }

    async fn send(
        &self,
        target: &Target,
        message: &Message,
        deadline: Instant,
    ) -> Result<ExportMetricsServiceResponse, ExportError> {
        match self {
            Self::Grpc(sender) => {
                let wait = deadline.saturating_duration_since(Instant::now());
                sender.send(target, message, wait).await
            }
            Self::Http(sender) => sender.send(target, message).await,
        }
    }
}
