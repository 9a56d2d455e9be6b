//! The HTTP client as gRPC uses it: an answer that is not one of gRPC (a proxy's 503, say) is an error of its own here,
//! before a page is taken for a message.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tonic::{
    body::Body,
    codegen::{Service, StdError},
};

use super::{
    client::{ANSWER, Connector, USER_AGENT},
    error::ExportError,
};

/// The client.
#[derive(Clone, Debug)]
pub(super) struct Checked(pub(super) legacy::Client<Connector, Body>);

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
            if response.status() == StatusCode::OK {
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER).collect().await.map(http_body_util::Collected::to_bytes);
            let error = ExportError::of_response(parts.status, &parts.headers, &body.unwrap_or_default());
            Err(error.into())
        })
    }
}
