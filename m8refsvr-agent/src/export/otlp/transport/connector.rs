//! Connections to the receiver, the same for both protocols: through a proxy or not, with TLS or not.

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

use super::{Protocol, Target, error::ExportError, proxy::Proxy, reason::Reason, tunnel};

/// After this time without a sign of life the kernel asks whether the other side still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, StdError>> + Send>>;

/// Makes connections to one receiver.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    inner: HttpsConnector<Route>,
    uses_tls: bool,
    is_forwarded: bool,
    host: Arc<str>,
    reason: Reason,
}

/// How a connection gets there.
#[derive(Clone, Debug)]
enum Route {
    Direct(HttpConnector),
    /// Through a proxy, which is asked for a tunnel.
    Tunnel(HttpConnector, Proxy),
    /// To a proxy, which makes requests for us.
    Forward(HttpConnector, Proxy),
}

impl Connector {
    pub(super) fn new(target: &Target, config: ClientConfig, reason: Reason) -> Self {
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let route = Route::to(target);
        let is_forwarded = matches!(route, Route::Forward(..));
        let inner = match target.protocol {
            Protocol::Grpc => https.enable_http2().wrap_connector(route),
            Protocol::HttpProtobuf => https.enable_http1().wrap_connector(route),
        };
        let (uses_tls, host) = (target.tls.is_some(), target.host().into());
        Self { inner, uses_tls, is_forwarded, host, reason }
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
        // tonic refuses https where its own TLS is not built in, and so is given http.
        let scheme = if self.uses_tls { Scheme::HTTPS } else { Scheme::HTTP };
        let connecting = self.inner.call(with_scheme(to, scheme));
        let (is_forwarded, host, reason) = (self.is_forwarded, Arc::clone(&self.host), self.reason.clone());
        Box::pin(async move {
            match connecting.await {
                Ok(stream) => Ok(Stream { stream, is_forwarded, host, reason }),
                Err(error) => {
                    reason.keep(ExportError::of_transport(error.as_ref(), &host));
                    Err(error)
                }
            }
        })
    }
}

impl Route {
    fn to(target: &Target) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        match &target.proxy {
            None => Self::Direct(tcp),
            // It could not look into TLS, and few know HTTP/2.
            Some(proxy) if proxies_by_tunnel(target) => Self::Tunnel(tcp, proxy.clone()),
            Some(proxy) => Self::Forward(tcp, proxy.clone()),
        }
    }
}

/// Whether a proxy is asked for a tunnel, and not to make requests for us.
pub(super) fn proxies_by_tunnel(target: &Target) -> bool {
    target.tls.is_some() || target.protocol == Protocol::Grpc
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
                    let (mut stream, place) = (stream.into_inner(), place(&to));
                    let opened = tunnel::open(&mut stream, &place, proxy.authorization.as_ref()).await;
                    opened.map_err(|error| {
                        let reason = format!("opens no tunnel to {place}: {error}");
                        ExportError::Proxy { proxy: proxy.shown(), reason }
                    })?;
                    Ok(TokioIo::new(stream))
                })
            }
        }
    }
}

/// Why a proxy can't be reached.
fn unreached(proxy: &Proxy, error: &(dyn Error + 'static)) -> StdError {
    let host = proxy.uri.host().unwrap_or_default();
    let reason = format!("can't be reached: {}", ExportError::of_transport(error, host));
    ExportError::Proxy { proxy: proxy.shown(), reason }.into()
}

/// Host and port, that of the scheme where there is none.
fn place(to: &Uri) -> String {
    let port = to.port_u16().unwrap_or(if to.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    format!("{}:{port}", to.host().unwrap_or_default())
}

/// A connection as exports have it below TLS, for who looks at one step after the other: to the receiver, or to the
/// proxy, or through it.
pub async fn connect(target: &Target) -> Result<TcpStream, ExportError> {
    let connecting = Route::to(target).call(target.endpoint.clone());
    let connected = connecting.await.map(TokioIo::into_inner);
    connected.map_err(|error| ExportError::of_transport(error.as_ref(), target.host()))
}

/// The same place by another scheme.
pub(super) fn with_scheme(place: Uri, scheme: Scheme) -> Uri {
    let mut parts = place.clone().into_parts();
    parts.scheme = Some(scheme);
    // A place without a host or path has no scheme either: nobody asks for one.
    Uri::from_parts(parts).unwrap_or(place)
}

/// A connection that keeps why TLS ended it.
pub(super) struct Stream {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    is_forwarded: bool,
    host: Arc<str>,
    reason: Reason,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        // To a proxy the client writes where a request is to go.
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
        self.reason.watch(outcome, &self.host)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.reason.watch(outcome, &self.host)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.reason.watch(outcome, &self.host)
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
        self.reason.watch(outcome, &self.host)
    }
}
