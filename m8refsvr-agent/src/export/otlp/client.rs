//! One attempt to send requests, over gRPC or HTTP, with or without TLS. Both protocols share one HTTP client and one
//! TLS stack; the connection is kept open from one export to the next.

use std::{io::Write as _, time::Duration};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioTimer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse, metrics_service_client::MetricsServiceClient,
};
use prost::Message as _;
use rustls::ClientConfig;
use tokio::time::Instant;
use tonic::{codec::CompressionEncoding, metadata::MetadataMap};

use super::{
    checked::Checked,
    connections::Connections,
    error::{ExportError, one_line},
    tls::{self, Files, Stamp, TlsError},
};

/// Bytes of an answer that are read.
pub(super) const ANSWER: usize = 64 << 10;
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

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// By gzip.
    Gzip,
    /// Not at all.
    None,
}

/// Where requests go and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The protocol.
    pub protocol: Protocol,
    /// The receiver; with HTTP up to the path.
    pub endpoint: Uri,
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

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// Sends requests to one receiver.
#[derive(Debug)]
pub struct Client {
    target: Target,
    config: ClientConfig,
    stamp: Vec<Option<Stamp>>,
    connections: Connections,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Grpc(Box<MetricsServiceClient<Checked>>),
    Http(Box<legacy::Client<Connector, Full<Bytes>>>),
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
    /// An error when a file for TLS is not as it must be. Connects when it sends.
    pub fn new(target: Target) -> Result<Self, TlsError> {
        let stamp = target.tls.as_ref().map(Files::stamp).unwrap_or_default();
        let config = match &target.tls {
            Some(files) => files.load()?,
            None => tls::without()?,
        };
        let connections = Connections::default();
        let transport = Transport::new(&target, config.clone(), connections.clone());
        Ok(Self { target, config, stamp, connections, transport })
    }

    /// Where it sends to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Takes up renewed files. Where they can't be used, as when only one of two has been renewed yet, those from
    /// before stay in use, and the next call tries again.
    pub async fn renew(&mut self) -> Result<(), TlsError> {
        let Some(files) = self.target.tls.clone() else { return Ok(()) };
        let known = self.stamp.clone();
        // Files may lie where reading them hangs, and this thread has more to do.
        let read = tokio::task::spawn_blocking(move || {
            let stamp = files.stamp();
            if stamp == known { Ok(None) } else { files.load().map(|config| Some((stamp, config))) }
        });
        if let Some((stamp, config)) = read.await.unwrap_or(Ok(None))? {
            self.config = config;
            self.stamp = stamp;
            self.reconnect();
            tracing::info!("renewed certificates are in use");
        }
        Ok(())
    }

    /// Ends all connections; the next request opens one of its own.
    pub fn reconnect(&mut self) {
        self.connections.end();
        self.connections = Connections::default();
        self.transport = Transport::new(&self.target, self.config.clone(), self.connections.clone());
    }

    /// Sends a request; the receiver is told how long we wait, but it is the caller who ends the wait.
    pub async fn send(
        &mut self,
        request: ExportMetricsServiceRequest,
        deadline: Instant,
    ) -> Result<Rejected, ExportError> {
        let host = self.target.endpoint.host().unwrap_or_default().to_owned();
        let response = match &mut self.transport {
            Transport::Grpc(client) => {
                let mut request = tonic::Request::new(request);
                *request.metadata_mut() = MetadataMap::from_headers(self.target.headers.clone());
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
                let sent = client.export(request).await;
                sent.map_err(|status| ExportError::of_status(&status, &host))?.into_inner()
            }
            Transport::Http(client) => {
                post(client, &self.target, &host, &request).await.map_err(|error| *error)?
            }
        };
        let partial = response.partial_success.unwrap_or_default();
        Ok(Rejected {
            points: u64::try_from(partial.rejected_data_points).unwrap_or_default(),
            message: one_line(&partial.error_message),
        })
    }
}

impl Transport {
    fn new(target: &Target, config: ClientConfig, connections: Connections) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let mut builder = legacy::Client::builder(connections);
        // However long the interval is.
        builder.pool_idle_timeout(None).pool_timer(TokioTimer::new());
        match target.protocol {
            Protocol::HttpProtobuf => {
                Self::Http(Box::new(builder.build(https.enable_http1().wrap_connector(http))))
            }
            Protocol::Grpc => {
                let client = builder.http2_only(true).build(https.enable_http2().wrap_connector(http));
                let client = MetricsServiceClient::with_origin(Checked(client), target.endpoint.clone());
                Self::Grpc(Box::new(match target.compression {
                    Compression::Gzip => client
                        .send_compressed(CompressionEncoding::Gzip)
                        .accept_compressed(CompressionEncoding::Gzip),
                    Compression::None => client,
                }))
            }
        }
    }
}

async fn post(
    client: &legacy::Client<Connector, Full<Bytes>>,
    target: &Target,
    host: &str,
    message: &ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, Box<ExportError>> {
    let plain = message.encode_to_vec();
    let body = match target.compression {
        Compression::None => plain,
        Compression::Gzip => compressed(&plain),
    };
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.endpoint.clone();
    let headers = request.headers_mut();
    headers.extend(target.headers.clone());
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    if target.compression == Compression::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let transport =
        |error: &(dyn std::error::Error + 'static)| Box::new(ExportError::of_transport(error, host));
    let response = client.request(request).await.map_err(|error| transport(&error))?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes);
    if !parts.status.is_success() {
        // The status tells more than why its text could not be read.
        return Err(Box::new(ExportError::of_response(
            parts.status,
            &parts.headers,
            &body.unwrap_or_default(),
        )));
    }
    let is_page =
        parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    match body.map_err(|error| error.to_string()).map(ExportMetricsServiceResponse::decode) {
        Ok(Ok(response)) => Ok(response),
        _ if is_page => Err(Box::new(ExportError::Connection(
            "a page came as answer: no OTLP receiver listens there".into(),
        ))),
        // It was accepted; only what else it says is lost.
        unread => {
            tracing::debug!("the receiver's answer can't be read: {unread:?}");
            Ok(ExportMetricsServiceResponse::default())
        }
    }
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Memory takes everything.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}
