//! Connections to the receiver, the same for both protocols: directly or through a proxy, with or without TLS.

use std::{
    error::Error,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tonic::codegen::{Service, StdError};

use super::{
    error::ExportError,
    last_error::LastError,
    proxy::Proxy,
    receiver::{Protocol, Receiver},
    tunnel,
};

/// TCP keepalive: the time without traffic after which the kernel probes the other side.
const KEEPALIVE: Duration = Duration::from_secs(60);

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, StdError>> + Send>>;

/// Makes connections to one receiver.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    inner: HttpsConnector<Route>,
    uses_tls: bool,
    is_forwarded: bool,
    host: Arc<str>,
    last_error: LastError,
}

/// The TCP connection below TLS.
#[derive(Clone, Debug)]
enum Route {
    Direct(HttpConnector),
    /// Through a proxy that opens a tunnel (CONNECT).
    Tunnel(HttpConnector, Proxy),
    /// To a proxy that forwards requests.
    Forward(HttpConnector, Proxy),
}

impl Connector {
    pub(super) fn new(receiver: &Receiver, config: ClientConfig, last_error: LastError) -> Self {
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let route = Route::to(receiver);
        let is_forwarded = matches!(route, Route::Forward(..));
        let inner = match receiver.protocol {
            Protocol::Grpc => https.enable_http2().wrap_connector(route),
            Protocol::HttpProtobuf => https.enable_http1().wrap_connector(route),
        };
        let (uses_tls, host) = (receiver.tls.is_some(), receiver.host().into());
        Self { inner, uses_tls, is_forwarded, host, last_error }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = StdError;
    type Future = Connecting<Stream>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        // tonic gets http URIs: it refuses https where its own TLS is not built in.
        let scheme = if self.uses_tls { Scheme::HTTPS } else { Scheme::HTTP };
        let connecting = self.inner.call(with_scheme(to, scheme));
        let (is_forwarded, host, last_error) =
            (self.is_forwarded, Arc::clone(&self.host), self.last_error.clone());
        Box::pin(async move {
            match connecting.await {
                Ok(stream) => Ok(Stream { stream, is_forwarded, host, last_error }),
                Err(error) => {
                    last_error.keep(ExportError::of_transport(error.as_ref(), &host));
                    Err(error)
                }
            }
        })
    }
}

impl Route {
    fn to(receiver: &Receiver) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        match &receiver.proxy {
            None => Self::Direct(tcp),
            Some(proxy) if receiver.is_tunnelled() => Self::Tunnel(tcp, proxy.clone()),
            Some(proxy) => Self::Forward(tcp, proxy.clone()),
        }
    }
}

impl Service<Uri> for Route {
    type Response = TokioIo<TcpStream>;
    type Error = StdError;
    type Future = Connecting<TokioIo<TcpStream>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        let (Self::Direct(tcp) | Self::Tunnel(tcp, _) | Self::Forward(tcp, _)) = self;
        tcp.poll_ready(context).map_err(StdError::from)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => {
                let connecting = tcp.call(to);
                Box::pin(async move { connecting.await.map_err(StdError::from) })
            }
            Self::Forward(tcp, proxy) => {
                let (connecting, proxy) = (tcp.call(proxy.uri.clone()), proxy.clone());
                Box::pin(async move { connecting.await.map_err(|error| unreached(&proxy, &error)) })
            }
            Self::Tunnel(tcp, proxy) => {
                let (connecting, proxy) = (tcp.call(proxy.uri.clone()), proxy.clone());
                Box::pin(async move {
                    let stream = connecting.await.map_err(|error| unreached(&proxy, &error))?;
                    let (mut stream, authority) = (stream.into_inner(), authority_of(&to));
                    let opened = tunnel::open(&mut stream, &authority, proxy.authorization.as_ref()).await;
                    opened.map_err(|error| {
                        let reason = format!("opens no tunnel to {authority}: {error}");
                        ExportError::Proxy { proxy: proxy.shown(), reason }
                    })?;
                    Ok(TokioIo::new(stream))
                })
            }
        }
    }
}

/// The error of a connection to a proxy.
fn unreached(proxy: &Proxy, error: &(dyn Error + 'static)) -> StdError {
    let host = proxy.uri.host().unwrap_or_default();
    let reason = format!("can't be reached: {}", ExportError::of_transport(error, host));
    ExportError::Proxy { proxy: proxy.shown(), reason }.into()
}

/// Host and port. A URI without a port has that of its scheme.
fn authority_of(to: &Uri) -> String {
    let port = to.port_u16().unwrap_or(if to.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    format!("{}:{port}", to.host().unwrap_or_default())
}

/// Opens the TCP connection of an export, without TLS, for `check`: to the receiver, to the proxy, or through its
/// tunnel.
pub async fn connect(receiver: &Receiver) -> Result<TcpStream, ExportError> {
    let connecting = Route::to(receiver).call(receiver.endpoint.clone());
    let connected = connecting.await.map(TokioIo::into_inner);
    connected.map_err(|error| ExportError::of_transport(error.as_ref(), receiver.host()))
}

/// The same URI with another scheme.
pub(super) fn with_scheme(uri: Uri, scheme: Scheme) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(scheme);
    // Fails only for a URI without a host or path, which no caller has.
    Uri::from_parts(parts).unwrap_or(uri)
}

/// A connection that keeps the error by which TLS ended it.
pub(super) struct Stream {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    is_forwarded: bool,
    host: Arc<str>,
    last_error: LastError,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        // To a forwarding proxy the client sends the whole URI of a request.
        self.stream.connected().proxy(self.is_forwarded)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.last_error.keep_tls(outcome, &self.host)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.last_error.keep_tls(outcome, &self.host)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.last_error.keep_tls(outcome, &self.host)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.last_error.keep_tls(outcome, &self.host)
    }
}
