//! Sending over gRPC, as `PROTOCOL-HTTP2.md` of gRPC has it: a call is a request in which a prefix stands before the
//! message, and an answer with a status in its trailers, or in its headers where there is no message. What is not an
//! answer of gRPC (a proxy's page, say) is told from one before it is taken for a message. tonic knows the statuses;
//! its client would compress by a level of its own, and copy what it sends.

use std::{error::Error, io::Read as _, time::Duration};

use bytes::{Buf as _, Bytes, buf::Chain};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use tonic::{Code, Status, metadata::MetadataMap};

use super::{
    client::{NO_RECEIVER, Target, USER_AGENT},
    compression::{Compression, Message},
    error::ExportError,
    noted::Connector,
};

/// `MetricsService.Export` of `opentelemetry/proto/collector/metrics/v1/metrics_service.proto`.
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const KIND: &str = "application/grpc";
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// No more digits fit in `grpc-timeout`.
const LONGEST: u128 = 99_999_999;
const DETAILS: &str = "grpc-status-details-bin";
/// Bytes of an answer that are taken at most.
const LARGEST: usize = 4 << 20;
/// Before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A message behind its prefix.
type Prefixed = Full<Chain<Bytes, Chain<Bytes, Bytes>>>;

/// The client of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Sender(pub(super) legacy::Client<Connector, Prefixed>);

impl Sender {
    /// Sends a message; the receiver is told how long we wait.
    pub(super) async fn send(
        &self,
        target: &Target,
        message: &Message,
        wait: Duration,
    ) -> Result<ExportMetricsServiceResponse, ExportError> {
        let host = target.endpoint.host().unwrap_or_default();
        let transport = |error: &(dyn Error + 'static)| ExportError::of_transport(error, host);
        let response = self.0.request(request(target, message, wait)).await;
        let (parts, body) = response.map_err(|error| transport(&error))?.into_parts();
        let body = Limited::new(body, LARGEST).collect();
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(KIND.as_bytes()));
        match parts.status {
            StatusCode::OK if is_grpc => {}
            status if status.is_success() => return Err(ExportError::Connection(NO_RECEIVER.into())),
            status => {
                let body = body.await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                return Err(ExportError::of_response(status, &parts.headers, &body));
            }
        }
        if let Some(status) = status(&parts.headers) {
            return accepted(&status).map(|()| ExportMetricsServiceResponse::default());
        }
        let body = body.await.map_err(|error| transport(error.as_ref()))?;
        let status = body.trailers().and_then(status);
        accepted(&status.unwrap_or_else(|| Status::unknown("the answer ends without a status")))?;
        Ok(answer(&body.to_bytes(), parts.headers.get(ENCODING)))
    }
}

fn request(target: &Target, message: &Message, wait: Duration) -> Request<Prefixed> {
    let is_compressed = message.compression() == Compression::Gzip;
    let message = message.bytes();
    let length = u32::try_from(message.remaining()).unwrap_or(u32::MAX);
    let prefix = [&[u8::from(is_compressed)][..], &length.to_be_bytes()].concat();
    let mut request = Request::new(Full::new(Bytes::from(prefix).chain(message)));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = place(&target.endpoint);
    let headers = request.headers_mut();
    headers.extend(target.headers.clone());
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
    if is_compressed {
        headers.insert(ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(ACCEPTED, HeaderValue::from_static("gzip"));
    }
    if let Ok(wait) = HeaderValue::try_from(format!("{}m", wait.as_millis().min(LONGEST))) {
        headers.insert(TIMEOUT, wait);
    }
    request
}

/// Where calls to a receiver go.
fn place(endpoint: &Uri) -> Uri {
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static(EXPORT));
    // The endpoint has a scheme and a host.
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

/// The status in headers or trailers.
fn status(headers: &HeaderMap) -> Option<Status> {
    let mut headers = MetadataMap::from_headers(headers.clone());
    // tonic panics at details that are not in base64.
    if headers.get_bin(DETAILS).is_some_and(|details| details.to_bytes().is_err()) {
        headers.remove_bin(DETAILS);
    }
    Status::from_header_map(headers.as_ref())
}

fn accepted(status: &Status) -> Result<(), ExportError> {
    if status.code() == Code::Ok { Ok(()) } else { Err(ExportError::of_status(status)) }
}

/// What else is said of what was accepted. Many servers compress an answer as its request was, asked or not.
fn answer(body: &[u8], encoding: Option<&HeaderValue>) -> ExportMetricsServiceResponse {
    let message = || {
        let ([is_compressed, length @ ..], message) = body.split_first_chunk::<PREFIX>()?;
        let message = message.get(..u32::from_be_bytes(*length) as usize)?;
        match (is_compressed, encoding.map(HeaderValue::as_bytes)) {
            (0, _) => ExportMetricsServiceResponse::decode(message).ok(),
            (1, Some(b"gzip")) => {
                let mut plain = Vec::new();
                // A little can become very much.
                GzDecoder::new(message).take(LARGEST as u64).read_to_end(&mut plain).ok()?;
                ExportMetricsServiceResponse::decode(&plain[..]).ok()
            }
            _ => None,
        }
    };
    message().unwrap_or_else(|| {
        tracing::debug!("the receiver's answer can't be read: {} bytes", body.len());
        ExportMetricsServiceResponse::default()
    })
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_status_is_read_whatever_its_details_are() {
        assert!(status(&headers(&[("content-type", KIND)])).is_none());
        let ok = status(&headers(&[("grpc-status", "0")])).unwrap();
        assert_eq!(accepted(&ok), Ok(()));
        for details in ["not base64!", "AAAA"] {
            let fields =
                [("grpc-status", "14"), ("grpc-message", "too%20many"), ("grpc-status-details-bin", details)];
            let error = accepted(&status(&headers(&fields)).unwrap()).unwrap_err();
            let expected =
                ExportError::Grpc { code: Code::Unavailable, message: "too many".into(), after: None };
            assert_eq!(error, expected, "{details}");
        }
    }

    #[test]
    fn what_can_not_be_read_of_an_answer_is_lost() {
        let partial_success =
            ExportMetricsPartialSuccess { rejected_data_points: 7, error_message: "old".into() };
        let said = ExportMetricsServiceResponse { partial_success: Some(partial_success) };
        let message = said.encode_to_vec();
        let length = u8::try_from(message.len()).unwrap();
        let whole = [&[0, 0, 0, 0, length][..], &message].concat();
        assert_eq!(answer(&whole, None), said);
        assert_eq!(answer(&[&whole[..], &[0, 0]].concat(), None), said);
        let gzip = HeaderValue::from_static("gzip");
        let mut shorter = Message::new(&message, Compression::Gzip).bytes();
        let shorter = shorter.copy_to_bytes(shorter.remaining());
        let length = u8::try_from(shorter.len()).unwrap();
        let shorter = [&[1, 0, 0, 0, length][..], &shorter].concat();
        assert_eq!(answer(&shorter, Some(&gzip)), said);
        assert_eq!(answer(&whole, Some(&gzip)), said);
        let nothing = ExportMetricsServiceResponse::default();
        assert_eq!(answer(&shorter, None), nothing);
        assert_eq!(answer(&shorter, Some(&HeaderValue::from_static("zstd"))), nothing);
        let compressed = [&[1][..], &whole[1..]].concat();
        for body in
            [&[][..], &whole[..4], &whole[..whole.len() - 1], &compressed, &[0, 255, 255, 255, 255, 1]]
        {
            assert_eq!(answer(body, Some(&gzip)), nothing, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_receiver_answers_is_fatal(
            body in vec(any::<u8>(), 0..100),
            fields in [vec(32..=255_u8, 0..20), vec(32..=255_u8, 0..20), vec(32..=255_u8, 0..20)],
        ) {
            answer(&body, None);
            answer(&body, Some(&HeaderValue::from_static("gzip")));
            let names = ["grpc-status", "grpc-message", DETAILS].map(HeaderName::from_static);
            let values = fields.iter().map(|value| HeaderValue::from_bytes(value));
            let headers = names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value.ok()?)));
            if let Some(status) = status(&headers.collect()) {
                let _ = accepted(&status);
            }
        }
    }
}
