//! Sending over gRPC. Messages come encoded, as they also go over HTTP; what is not an answer of gRPC (a proxy's page,
//! say) is told from one before it is taken for a message.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut as _, Bytes};
use http::{HeaderValue, Request, Response, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use tonic::{
    Status,
    body::Body,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Service, StdError},
    metadata::MetadataMap,
};

use super::{
    client::{ANSWER, Compression, NO_RECEIVER, Target, USER_AGENT},
    error::ExportError,
    noted::Connector,
};

/// `MetricsService.Export` of `opentelemetry/proto/collector/metrics/v1/metrics_service.proto`.
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// The client of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Sender(Grpc<Checked>);

impl Sender {
    pub(super) fn new(client: legacy::Client<Connector, Body>, target: &Target) -> Self {
        let grpc = Grpc::with_origin(Checked(client), target.endpoint.clone());
        Self(match target.compression {
            Compression::Gzip => {
                grpc.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip)
            }
            Compression::None => grpc,
        })
    }

    /// Sends an encoded message; the receiver is told how long we wait.
    pub(super) async fn send(
        &mut self,
        target: &Target,
        message: Bytes,
        wait: Duration,
    ) -> Result<ExportMetricsServiceResponse, ExportError> {
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(target.headers.clone());
        request.set_timeout(wait);
        let host = target.endpoint.host().unwrap_or_default();
        self.0.ready().await.map_err(|error| ExportError::of_transport(error.as_ref(), host))?;
        let sent = self.0.unary(request, PathAndQuery::from_static(EXPORT), Encoded).await;
        sent.map(tonic::Response::into_inner).map_err(|status| ExportError::of_status(&status, host))
    }
}

/// Messages that are encoded already.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportMetricsServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportMetricsServiceResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        // The status that follows says whether it was accepted; only what else this says may be lost.
        Ok(Some(Self::Item::decode(buffer).unwrap_or_else(|error| {
            tracing::debug!("the receiver's answer can't be read: {error}");
            Self::Item::default()
        })))
    }
}

/// The HTTP client, which makes an error of what is no answer of gRPC.
#[derive(Clone, Debug)]
struct Checked(legacy::Client<Connector, Body>);

impl Service<Request<Body>> for Checked {
    type Response = Response<Incoming>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let response = self.0.request(request);
        Box::pin(async move {
            let response = response.await?;
            let kind = response.headers().get(header::CONTENT_TYPE);
            let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
            if response.status() == StatusCode::OK && is_grpc {
                return Ok(response);
            }
            if response.status().is_success() {
                return Err(ExportError::Connection(NO_RECEIVER.into()).into());
            }
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER).collect().await.map(http_body_util::Collected::to_bytes);
            let error = ExportError::of_response(parts.status, &parts.headers, &body.unwrap_or_default());
            Err(error.into())
        })
    }
}
