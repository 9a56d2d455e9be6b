//! Connections that note why TLS ended them. A receiver that does not accept our certificate says so only after the
//! handshake, when the request already fails for want of a connection: the reason would be lost.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tonic::codegen::{Service, StdError};

/// The last error of TLS.
#[derive(Clone, Debug, Default)]
pub(super) struct Note(Arc<Mutex<Option<rustls::Error>>>);

impl Note {
    /// Takes it.
    pub(super) fn take(&self) -> Option<rustls::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn watch<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome
            && let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tls.clone());
        }
        outcome
    }
}

/// Makes such connections.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) inner: HttpsConnector<HttpConnector>,
    pub(super) note: Note,
}

impl Service<Uri> for Connector {
    type Response = Noted;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Noted, StdError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Service::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = Service::call(&mut self.inner, to);
        let note = self.note.clone();
        Box::pin(async move { Ok(Noted { stream: connecting.await?, note }) })
    }
}

/// Such a connection.
pub(super) struct Noted {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    note: Note,
}

impl Connection for Noted {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.note.watch(outcome)
    }
}

impl Write for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note.watch(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.note.watch(outcome)
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
        self.note.watch(outcome)
    }
}
