//! A handshake of TLS by itself, for who wants to know what the receiver presents.

use std::{sync::Arc, time::SystemTime};

use rustls::{ProtocolVersion, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Protocol, Target, error::ExportError, tls::valid_until};

/// What a receiver presented.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    /// The version of TLS on which both agreed.
    pub version: &'static str,
    /// Until when its certificate is valid; `None` when that is not understood.
    pub valid_until: Option<SystemTime>,
}

/// Begins TLS on a connection to a receiver, as an export does.
pub async fn probe(target: &Target, stream: TcpStream) -> Result<Presented, ExportError> {
    let host = target.endpoint.host().unwrap_or_default();
    let tls = |reason: String| ExportError::Tls(reason);
    let mut config = target.tls.clone().unwrap_or_default().load().map_err(|error| tls(error.to_string()))?;
    config.alpn_protocols = match target.protocol {
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
