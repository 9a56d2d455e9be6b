//! The last error of a connection, kept beside it. The exporters of the crates pass on text alone, and a receiver that
//! refuses our certificate sends its TLS alert only after the handshake, when the request has failed already.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use super::error::ExportError;

/// Shared by a client and its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct LastError(Arc<Mutex<Option<ExportError>>>);

impl LastError {
    pub(super) fn take(&self) -> Option<ExportError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn keep(&self, error: ExportError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Keeps the TLS error of an I/O operation on a connection to `host`.
    pub(super) fn keep_tls<T>(&self, outcome: Poll<io::Result<T>>, host: &str) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome
            && let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            self.keep(ExportError::of_tls(tls, host));
        }
        outcome
    }
}
