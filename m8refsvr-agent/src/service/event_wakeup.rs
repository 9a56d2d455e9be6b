//! Waits for events of the BPF programs between two collections.

use std::{future::pending, io, os::fd::OwnedFd, time::Duration};

use tokio::{io::unix::AsyncFd, time::sleep};

use crate::collector::Collector;

/// How long to wait for further events, so that those in quick succession are handled together.
const PAUSE: Duration = Duration::from_millis(2);

/// Wakes the service when the BPF programs send events.
#[derive(Debug, Default)]
pub struct EventWakeup(Option<AsyncFd<OwnedFd>>);

impl EventWakeup {
    /// For the BPF programs of a collector. Must be called within a runtime.
    pub fn new(collector: &Collector) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "wrong only for a type that shows another descriptor later; what replaces it is unsafe"
        )]
        collector.descriptor()?.map(AsyncFd::new).transpose().map(Self)
    }

    /// Returns after an event. Never returns if there are no BPF programs, or if waiting for them fails.
    pub async fn wait(&self) {
        let Some(descriptor) = &self.0 else { return pending().await };
        match descriptor.readable().await {
            // The caller then reads all events.
            Ok(mut ready) => ready.clear_ready(),
            Err(error) => {
                tracing::warn!("events of the BPF programs can't be waited for: {error}");
                return pending().await;
            }
        }
        sleep(PAUSE).await;
    }
}
