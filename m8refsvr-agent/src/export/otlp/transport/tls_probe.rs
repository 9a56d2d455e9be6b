//! A TLS handshake without an export, for `check`: which version and which certificate the receiver has.

use std::{sync::Arc, time::SystemTime};

use rustls::{ProtocolVersion, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    certificates::valid_until,
    error::ExportError,
    receiver::{Protocol, Receiver},
};

/// The result of a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    /// The negotiated version.
    pub version: &'static str,
    /// Until when the receiver's certificate is valid; `None` where it can't be parsed.
    pub valid_until: Option<SystemTime>,
}

/// Does the TLS handshake of an export on a connection to the receiver.
pub async fn probe(receiver: &Receiver, stream: TcpStream) -> Result<Presented, ExportError> {
    let host = receiver.endpoint.host().unwrap_or_default();
    let tls = |reason: String| ExportError::Tls(reason);
    let mut config =
        receiver.tls.clone().unwrap_or_default().load().map_err(|error| tls(error.to_string()))?;
    config.alpn_protocols = match receiver.protocol {
        Protocol::Grpc => vec![b"h2".to_vec()],
        Protocol::HttpProtobuf => vec![b"http/1.1".to_vec()],
    };
    let plain = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(plain).map_err(|error| tls(error.to_string()))?;
    let of_transport = |error: std::io::Error| ExportError::of_transport(&error, host);
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(of_transport)?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    Ok(Presented {
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        },
        valid_until: certificate.and_then(valid_until),
    })
}
