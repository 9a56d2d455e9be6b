//! Sending as protobuf over HTTP/1.1.

use std::error::Error;

use bytes::{Bytes, buf::Chain};
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;

use super::{
    client::{ANSWER, NO_RECEIVER, Target, USER_AGENT},
    compression::{Compression, Message},
    error::ExportError,
    noted::Connector,
};

/// The client of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Sender(pub(super) legacy::Client<Connector, Full<Chain<Bytes, Bytes>>>);

impl Sender {
    /// Sends a message.
    pub(super) async fn send(
        &self,
        target: &Target,
        message: &Message,
    ) -> Result<ExportMetricsServiceResponse, ExportError> {
        let host = target.endpoint.host().unwrap_or_default();
        let transport = |error: &(dyn Error + 'static)| ExportError::of_transport(error, host);
        let response = self.0.request(request(target, message)).await.map_err(|error| transport(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes);
        if !parts.status.is_success() {
            // The status tells more than why its text could not be read.
            return Err(ExportError::of_response(parts.status, &parts.headers, &body.unwrap_or_default()));
        }
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        match body.map_err(|error| error.to_string()).map(ExportMetricsServiceResponse::decode) {
            Ok(Ok(response)) => Ok(response),
            _ if is_page => Err(ExportError::Connection(NO_RECEIVER.into())),
            // It was accepted; only what else it says is lost.
            unread => {
                tracing::debug!("the receiver's answer can't be read: {unread:?}");
                Ok(ExportMetricsServiceResponse::default())
            }
        }
    }
}

fn request(target: &Target, message: &Message) -> Request<Full<Chain<Bytes, Bytes>>> {
    let mut request = Request::new(Full::new(message.bytes()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.endpoint.clone();
    let headers = request.headers_mut();
    headers.extend(target.headers.clone());
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    if message.compression() == Compression::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    request
}
