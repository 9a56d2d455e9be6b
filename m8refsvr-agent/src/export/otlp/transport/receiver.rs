//! The receiver: its endpoint, protocol, proxy and TLS, and the headers of requests.

use std::time::Duration;

use http::{HeaderMap, Uri};

use super::{proxy::Proxy, tls::Files};

/// The paths on a receiver that speaks HTTP.
const METRICS: &str = "/v1/metrics";
const LOGS: &str = "/v1/logs";
/// The agent's `User-Agent`.
pub(super) const USER_AGENT: &str = concat!("m8refsvr-agent/", env!("CARGO_PKG_VERSION"));

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// No compression.
    None,
}

/// The protocol of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// Protobuf over HTTP/1.1.
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

/// Where requests are sent, and how.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// The protocol.
    pub protocol: Protocol,
    /// The URL, with HTTP including the path of metrics.
    pub endpoint: Uri,
    /// The proxy between the agent and the receiver.
    pub proxy: Option<Proxy>,
    /// The files for TLS; `None` without TLS.
    pub tls: Option<Files>,
    /// Headers of requests with metrics.
    pub headers: HeaderMap,
    /// Headers of requests with log records.
    pub log_headers: HeaderMap,
    /// Compression of every request.
    pub compression: Compression,
    /// The time that one export may take.
    pub timeout: Duration,
}

impl Receiver {
    /// The endpoint and the proxy, for logs and messages.
    pub fn way(&self) -> String {
        let through = self.proxy.as_ref().map(|proxy| format!(" through the proxy {}", proxy.shown()));
        self.shown() + &through.unwrap_or_default()
    }

    /// The endpoint of log records. With gRPC it is that of metrics. With HTTP it is `/v1/logs` beside `/v1/metrics`,
    /// or at the root if metrics have another path.
    pub(super) fn log_endpoint(&self) -> Uri {
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

    /// Whether a proxy is asked for a tunnel, and not to forward requests. It can't see into TLS, and few proxies know
    /// HTTP/2.
    pub(super) fn is_tunnelled(&self) -> bool {
        self.tls.is_some() || self.protocol == Protocol::Grpc
    }

    /// Whether the path of metrics is the usual one, so that the path of log records follows from it.
    pub fn has_usual_path(&self) -> bool {
        self.protocol == Protocol::Grpc || self.endpoint.path().ends_with(METRICS)
    }

    /// The host of the endpoint. An IPv6 address is in brackets.
    pub(super) fn host(&self) -> &str {
        self.endpoint.host().unwrap_or_default()
    }

    /// The endpoint for logs and messages. Its query is masked, as it may hold a secret.
    pub fn shown(&self) -> String {
        let text = self.endpoint.to_string();
        text.split_once('?').map_or(text.clone(), |(place, _)| format!("{place}?***"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_records_go_beside_metrics() {
        let logs_of = |protocol, endpoint: &str| {
            let receiver = Receiver {
                protocol,
                endpoint: endpoint.parse().unwrap(),
                proxy: None,
                tls: None,
                headers: HeaderMap::new(),
                log_headers: HeaderMap::new(),
                compression: Compression::None,
                timeout: Duration::from_secs(1),
            };
            receiver.log_endpoint().to_string()
        };
        let http = |endpoint| logs_of(Protocol::HttpProtobuf, endpoint);
        assert_eq!(http("http://a:4318/v1/metrics"), "http://a:4318/v1/logs");
        assert_eq!(http("http://a/otlp/v1/metrics?b=c"), "http://a/otlp/v1/logs?b=c");
        assert_eq!(http("http://a/own"), "http://a/v1/logs");
        assert_eq!(logs_of(Protocol::Grpc, "http://a:4317/"), "http://a:4317/");
    }
}
