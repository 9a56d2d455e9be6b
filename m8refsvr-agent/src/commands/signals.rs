//! The signals that tell the agent to end, or to open its log again.

use std::{process::ExitCode, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// What a shell reports of a program that a signal ended: 128 and its number.
const BY_SIGNAL: u8 = 128;

/// Listening begins before anything is set up that must be cleaned up.
pub(super) struct Signals {
    interrupted: Signal,
    terminated: Signal,
    hung_up: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|source| Failure::Io { action: "listen for signals", source });
        Ok(Self {
            interrupted: listen(SignalKind::interrupt())?,
            terminated: listen(SignalKind::terminate())?,
            hung_up: listen(SignalKind::hangup())?,
        })
    }

    /// The next one. One that came while nobody waited comes first.
    pub(super) async fn next(&mut self) -> SignalKind {
        tokio::select! {
            biased;
            _ = self.interrupted.recv() => SignalKind::interrupt(),
            _ = self.terminated.recv() => SignalKind::terminate(),
            _ = self.hung_up.recv() => SignalKind::hangup(),
        }
    }

    /// Waits, or less if a signal tells to end; then how.
    pub(super) async fn wait(&mut self, time: Duration) -> Option<ExitCode> {
        tokio::select! {
            biased;
            kind = self.next() => Some(ExitCode::from(by_signal(kind))),
            () = tokio::time::sleep(time) => None,
        }
    }
}

/// The exit code of a program that a signal ended.
pub(super) fn by_signal(kind: SignalKind) -> u8 {
    BY_SIGNAL + u8::try_from(kind.as_raw_value()).unwrap_or_default()
}
