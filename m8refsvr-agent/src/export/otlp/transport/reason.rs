//! Why a connection failed, kept beside it. A receiver that does not accept our certificate says so only after the
//! handshake, when the request already fails for want of a connection; and the exporters pass on words alone, so that
//! nobody could tell what a failed connection was about.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use super::error::ExportError;

/// The last reason for which a connection failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Reason(Arc<Mutex<Option<ExportError>>>);

impl Reason {
    /// Takes it.
    pub(super) fn take(&self) -> Option<ExportError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn keep(&self, error: ExportError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Keeps what TLS said when it ended a connection to `host`.
    pub(super) fn watch<T>(&self, outcome: Poll<io::Result<T>>, host: &str) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome
            && let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            self.keep(ExportError::of_tls(tls, host));
        }
        outcome
    }
}
