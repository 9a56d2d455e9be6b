//! Why an export failed, in words that show an administrator where to look, and whether it may be retried.

use std::{error::Error, io, time::Duration};

use hyper::body::Bytes;
use prost::Message as _;
use rustls::{AlertDescription, CertificateError};
use thiserror::Error;
use tonic::Code;
use tonic_types::StatusExt as _;

/// Bytes of a receiver's message that are quoted.
const QUOTED: usize = 200;

/// Why an export failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExportError {
    /// No response within the timeout.
    #[error("no answer within {:?}: the receiver hangs, or a firewall drops what is sent to it", rounded(*.0))]
    Timeout(Duration),
    /// The TCP connection was refused.
    #[error("connection refused: nothing listens there")]
    Refused,
    /// The host name could not be resolved.
    #[error("the host's name can't be resolved: {0}")]
    Name(String),
    /// A proxy could not be reached, or opened no tunnel.
    #[error("the proxy {proxy} {reason}; check it, or except the receiver's host by NO_PROXY")]
    Proxy {
        /// Its URL without credentials.
        proxy: String,
        /// What failed.
        reason: String,
    },
    /// The TLS handshake failed: one side refused the other's certificate, or does not speak TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// Any other error below HTTP.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The response was a web page.
    #[error("a page came as answer: no OTLP receiver listens there; check the port and --protocol")]
    NoReceiver,
    /// A library panicked, or refused its settings.
    #[error("the exporter failed by itself: {0}; the receiver's answer may be broken")]
    Broken(String),
    /// An HTTP status that is not one of success, by the receiver or a proxy.
    #[error("the receiver answered HTTP status {status}{}{}", quoted(message), hint(*status))]
    Status {
        /// The status code.
        status: u16,
        /// The message of the receiver.
        message: String,
        /// How long to wait before a retry, if the receiver says so.
        after: Option<Duration>,
    },
    /// A gRPC status that is not `OK`.
    #[error("the receiver answered gRPC status {code:?}{}{}", quoted(message), grpc_hint(*code))]
    Grpc {
        /// The status code.
        code: Code,
        /// The message of the receiver.
        message: String,
        /// How long to wait before a retry, if the receiver says so.
        after: Option<Duration>,
    },
}

impl ExportError {
    /// Whether the request may be retried, by the specification of OTLP.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout(_)
            | Self::Refused
            | Self::Name(_)
            | Self::Proxy { .. }
            | Self::Tls(_)
            | Self::Connection(_)
            | Self::NoReceiver
            | Self::Broken(_) => true,
            Self::Status { status, .. } => matches!(status, 429 | 502..=504),
            Self::Grpc { code, after, .. } => match code {
                Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss => true,
                Code::ResourceExhausted => after.is_some(),
                _ => false,
            },
        }
    }

    /// The same for errors that are logged as one that repeats: their messages may differ each time.
    pub fn kind(&self) -> String {
        match self {
            Self::Timeout(_)
            | Self::Refused
            | Self::Name(_)
            | Self::Proxy { .. }
            | Self::Connection(_)
            | Self::NoReceiver
            | Self::Broken(_) => "unreachable".into(),
            Self::Tls(reason) => reason.clone(),
            Self::Status { status, .. } => status.to_string(),
            Self::Grpc { code, .. } => format!("{code:?}"),
        }
    }

    /// Whether there was no response, so that the connection may be dead.
    pub fn is_of_connection(&self) -> bool {
        !matches!(self, Self::Status { .. } | Self::Grpc { .. })
    }

    /// How long to wait before a retry, if the receiver says so.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Status { after, .. } | Self::Grpc { after, .. } => *after,
            _ => None,
        }
    }

    /// From an HTTP response that is not one of success.
    pub fn of_response(status: http::StatusCode, headers: &http::HeaderMap, body: &Bytes) -> Self {
        let header = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let is_protobuf = header(http::header::CONTENT_TYPE) == Some("application/x-protobuf");
        let message = match (header(http::header::LOCATION), tonic_types::pb::Status::decode(body.clone())) {
            (Some(location), _) if status.is_redirection() => {
                format!("it sends exports to {}", location.split(['?', '#']).next().unwrap_or_default())
            }
            (_, Ok(status)) if is_protobuf => status.message,
            _ => String::from_utf8_lossy(body).into_owned(),
        };
        let after = header(http::header::RETRY_AFTER).and_then(|after| match after.trim().parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => {
                let date = httpdate::parse_http_date(after).ok()?;
                Some(date.duration_since(std::time::SystemTime::now()).unwrap_or_default())
            }
        });
        Self::Status { status: status.as_u16(), message, after }
    }

    /// From a gRPC status that is not `OK`.
    pub(super) fn of_status(status: &tonic::Status) -> Self {
        if let Some(status) = http_status(status.message()) {
            return match status {
                200 => Self::NoReceiver,
                status => Self::Status { status, message: String::new(), after: None },
            };
        }
        // `RetryInfo` allows a retry even if it has no delay.
        let after = status.get_details_retry_info().map(|info| info.retry_delay.unwrap_or_default());
        Self::Grpc { code: status.code(), message: status.message().into(), after }
    }

    /// From an error of TLS.
    pub(super) fn of_tls(error: &rustls::Error, host: &str) -> Self {
        Self::Tls(tls_words(error, host))
    }

    /// From an error below HTTP, by the most specific of its causes.
    pub(super) fn of_transport(error: &(dyn Error + 'static), host: &str) -> Self {
        let mut texts: Vec<String> = Vec::new();
        let mut current = Some(error);
        while let Some(error) = current {
            if let Some(known) = error.downcast_ref::<Self>() {
                return known.clone();
            }
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return Self::of_tls(tls, host);
            }
            let mut next = error.source();
            if let Some(io) = error.downcast_ref::<io::Error>() {
                if io.kind() == io::ErrorKind::ConnectionRefused {
                    return Self::Refused;
                }
                // `source` of an `io::Error` skips the error that it wraps.
                if let Some(inner) = io.get_ref() {
                    next = Some(inner);
                }
            }
            let text = error.to_string();
            if texts.last().is_none_or(|last| !last.contains(&text)) {
                texts.push(text);
            }
            current = next;
        }
        if let Some(place) = texts.iter().position(|text| text == "dns error") {
            return Self::Name(texts.split_off(place + 1).join(": "));
        }
        Self::Connection(texts.join(": "))
    }
}

fn tls_words(error: &rustls::Error, host: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            // A bad signature means another authority with the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the receiver's certificate is of an unknown authority: give that authority's with --ca-cert"
                    .into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the receiver's certificate has expired".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the receiver's certificate is not valid yet: check this machine's clock".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the receiver's certificate is not for the name {host}")
            }
            reason => format!("the receiver's certificate is not valid: {}", certificate_words(reason)),
        },
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::HandshakeFailure
            | AlertDescription::AccessDenied),
        ) => format!(
            "the receiver does not accept our certificate ({alert:?}): it wants another in --client-cert"
        ),
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the receiver does not speak HTTP/2 there, as gRPC needs it: check the port and --protocol".into()
        }
        rustls::Error::InvalidMessage(_) => "the receiver does not speak TLS there: check the port".into(),
        error => error.to_string(),
    }
}

/// The fault of a certificate in words. Messages of rustls are mostly names in its code.
pub(super) fn certificate_words(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::BadEncoding => "it is not encoded as a certificate must be",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is for another purpose (extended key usage)"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed in a way that is not supported"
        }
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(webpki::Error::UnsupportedCertVersion) => "it is not of X.509 version 3",
            Some(webpki::Error::UnsupportedCriticalExtension) => {
                "a critical extension of it is not supported"
            }
            Some(webpki::Error::CaUsedAsEndEntity) => {
                "it is an authority's own, and not among those of --ca-cert: give it there"
            }
            Some(webpki::Error::EndEntityUsedAsCa) => "it is certified by what is no authority",
            Some(webpki::Error::NameConstraintViolation) => "its authority may not certify its names",
            Some(webpki::Error::PathLenConstraintViolated) => {
                "there are too many between it and its authority"
            }
            _ => "it has a part that is broken or not supported",
        },
        _ => "it can't be verified",
    }
}

/// Rounded down to milliseconds.
fn rounded(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis().try_into().unwrap_or(u64::MAX))
}

/// Advice for a status.
fn hint(status: u16) -> &'static str {
    match status {
        407 => "; it is a proxy's: give it credentials as in HTTP_PROXY=http://user:password@host:port",
        300..=399 => "; the agent follows no redirects: give that place as --endpoint",
        400 => "; over TLS it may want another --client-cert",
        401 | 403 => "; it may want a header in OTEL_EXPORTER_OTLP_HEADERS",
        404 | 405 => "; check the port and --protocol, and with http/protobuf the URL's path",
        _ => "",
    }
}

/// Advice for a gRPC status.
fn grpc_hint(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => hint(403),
        Code::Unimplemented => "; check the port and --protocol",
        _ => "",
    }
}

/// The HTTP status in tonic's message about a response that is not of gRPC, such as a proxy's page. tonic gives such a
/// response a gRPC code of its own, which does not show whether it may be retried.
fn http_status(message: &str) -> Option<u16> {
    const WORDS: [&str; 2] = ["mapped from HTTP status code ", "while receiving response with status: "];
    let status = WORDS.iter().find_map(|words| Some(message.split_once(words)?.1))?;
    status.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// A message of the other side, after a colon.
fn quoted(message: &str) -> String {
    let line = one_line(message);
    if line.is_empty() { line } else { format!(": {line}") }
}

/// The start of a message of the other side, on one line and without HTML tags.
pub(super) fn one_line(message: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for character in message.chars() {
        match character {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                text.push(' ');
            }
            _ if in_tag => {}
            control if control.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = words.char_indices().map(|(at, _)| at).find(|&at| at >= QUOTED).unwrap_or(words.len());
    words[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[test]
    fn a_receiver_s_certificate_is_refused_in_words() {
        for (fault, expected) in [
            (webpki::Error::UnsupportedCertVersion, "it is not of X.509 version 3"),
            (
                webpki::Error::CaUsedAsEndEntity,
                "it is an authority's own, and not among those of --ca-cert: give it there",
            ),
            (webpki::Error::MalformedExtensions, "it has a part that is broken or not supported"),
        ] {
            let reason = CertificateError::Other(OtherError(Arc::new(fault)));
            let words = tls_words(&rustls::Error::InvalidCertificate(reason), "host");
            assert_eq!(words, format!("the receiver's certificate is not valid: {expected}"));
        }
    }

    #[test]
    fn a_response_that_is_not_of_grpc_has_its_http_status() {
        let of = |message: &str| ExportError::of_status(&tonic::Status::internal(message));
        let flag =
            "protocol error: received message with invalid compression flag: 60 (valid flags are 0 and 1)";
        let status = |status| ExportError::Status { status, message: String::new(), after: None };
        assert_eq!(
            of(&format!("{flag} while receiving response with status: 503 Service Unavailable")),
            status(503)
        );
        assert_eq!(of("grpc-status header missing, mapped from HTTP status code 404"), status(404));
        assert_eq!(
            of(&format!("{flag} while receiving response with status: 200 OK")),
            ExportError::NoReceiver
        );
        assert!(matches!(of("too much status: 400 of it"), ExportError::Grpc { .. }));
    }

    #[test]
    fn a_status_of_who_takes_no_exports_says_where_to_look() {
        let status = ExportError::Status { status: 404, message: "<h1>Not\nFound</h1>".into(), after: None };
        let words = status.to_string();
        assert!(words.contains("404: Not Found; check the port and --protocol"), "{words}");
    }
}
