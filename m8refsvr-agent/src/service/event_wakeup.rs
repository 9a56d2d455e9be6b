//! Waiting for what the kernel's programs tell between two collections.

use std::{future::pending, io, os::fd::OwnedFd, time::Duration};

use tokio::{io::unix::AsyncFd, time::sleep};

use crate::collector::Collector;

/// How long to wait for more to be told: what happens in quick succession is then taken in at once.
const PAUSE: Duration = Duration::from_millis(2);

/// What the programs tell, as something to wait for.
#[derive(Debug, Default)]
pub struct EventWakeup(Option<AsyncFd<OwnedFd>>);

impl EventWakeup {
    /// Of the programs of a collector. Must be called within a runtime.
    pub fn new(collector: &Collector) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "wrong only for a type that shows another descriptor later; what replaces it is unsafe"
        )]
        collector.descriptor()?.map(AsyncFd::new).transpose().map(Self)
    }

    /// Returns when something was told; never where nothing ever is.
    pub async fn wait(&self) {
        let Some(descriptor) = &self.0 else { return pending().await };
        match descriptor.readable().await {
            // All of it is taken in afterwards.
            Ok(mut ready) => ready.clear_ready(),
            Err(error) => {
                tracing::warn!("what the programs tell can't be waited for: {error}");
                return pending().await;
            }
        }
        sleep(PAUSE).await;
    }
}
