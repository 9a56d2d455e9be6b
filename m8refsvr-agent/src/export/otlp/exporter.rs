//! Exports the newest report only: totals are cumulative, so that an older report has nothing that the newest lacks. A
//! task of its own, so that a receiver that is slow, hangs or is gone never delays a collection.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Client, Dropped, ExportError, Payload, ProcessMessages, messages,
    retry::{FIRST_RETRY, LAST_RETRY, LONGEST_PAUSE, RENEWAL},
    transport::Rejected,
};
use crate::{
    logging::{
        throttle::{Notice, Throttle},
        units,
    },
    metrics::report::Exports,
};

/// The newest report, as the service hands it over.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    /// Increases with each report.
    pub number: u64,
    /// What to export; `None` before the first report.
    pub payload: Option<Arc<Payload>>,
    /// Set for the last report: the deadline of its export.
    pub last_by: Option<Instant>,
}

/// Counts of exports, for the following reports.
#[derive(Debug, Default)]
pub struct Counts {
    /// The number of the newest report whose export began.
    begun: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    rejected: AtomicU64,
    exits: OnceLock<Dropped>,
}

impl Counts {
    pub fn now(&self) -> Exports {
        Exports {
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            dropped_exits: self.exits.get().map(Dropped::now),
        }
    }

    /// The number of the newest report whose export began; 0 before the first.
    pub fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// From now on, dropped log records of exits are counted too.
    pub fn count_exits(&self) -> Dropped {
        self.exits.get_or_init(Dropped::default).clone()
    }
}

/// Exports one whole report within `limit`. Returns how many data points were rejected, and why.
pub async fn attempt(
    client: &mut Client,
    messages: &ProcessMessages,
    payload: &Payload,
    limit: Duration,
) -> Result<Rejected, ExportError> {
    let all = async {
        // First, because it also finds out whether the connection still works.
        let mut rejected = client.export(&payload.metrics).await?;
        messages.prepare(&payload.report).await;
        for request in messages.requests(&payload.report, messages::SIZE) {
            rejected.add(client.send(request).await?);
        }
        Ok(rejected)
    };
    timeout(limit, all).await.unwrap_or(Err(ExportError::Timeout(limit)))
}

#[derive(Debug)]
pub struct Exporter {
    client: Client,
    messages: ProcessMessages,
    delay: Duration,
    counts: Arc<Counts>,
    unreachable: Throttle,
    not_accepted: Throttle,
    old_certificates: Throttle,
}

impl Exporter {
    /// Exports with `client`, and counts in `counts`. Each report but the first and the last is sent `delay` after its
    /// collection. Hosts don't share the times of these two, and a user may be waiting for them.
    pub fn new(client: Client, messages: ProcessMessages, delay: Duration, counts: Arc<Counts>) -> Self {
        Self {
            client,
            messages,
            delay,
            counts,
            unreachable: Throttle::default(),
            not_accepted: Throttle::default(),
            old_certificates: Throttle::default(),
        }
    }

    /// Exports until the last report, or until the sender of `newest` is dropped.
    pub async fn run(mut self, mut newest: watch::Receiver<Newest>) {
        // Notices the last report during the export of another. It needs a receiver of its own: `wait_for` marks the
        // values that it skips as seen.
        let mut last = newest.clone();
        let mut taken = 0;
        let mut is_delivered = true;
        // A failed export is tried again after a wait, or with the next report.
        let mut retry: Option<(Instant, Duration)> = None;
        let mut paused_until = Instant::now();
        loop {
            let due = retry.map(|(at, _)| at);
            let again = async move {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let mut not_before = paused_until;
            tokio::select! {
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if taken > 0 {
                        not_before = not_before.max(self.earliest(&newest.borrow()));
                    }
                }
                () = again => {}
            }
            if Instant::now() < not_before {
                tokio::select! {
                    () = sleep_until(not_before) => {}
                    _ = last.wait_for(|newest| newest.last_by.is_some()) => {}
                }
            }
            let Newest { number, payload, last_by } = newest.borrow_and_update().clone();
            // The last collection may have failed after the report before it was exported.
            let wanted = payload.filter(|_| number > taken || !is_delivered);
            let Some(payload) = wanted else {
                if last_by.is_some() {
                    return;
                }
                continue;
            };
            // Dropped: reports that came in between, and the previous one if it was not delivered.
            let before = u64::from(!is_delivered && number > taken);
            self.counts.dropped.fetch_add(number.saturating_sub(taken + 1) + before, Relaxed);
            taken = number;
            self.counts.begun.store(number, Relaxed);
            let outcome = self.deliver(&payload, last_by, &mut last).await;
            if last_by.is_some() {
                return;
            }
            is_delivered = matches!(outcome, Some(Ok(())));
            retry = outcome.and_then(Result::err).and_then(|error| {
                let now = Instant::now();
                if let Some(after) = error.after() {
                    paused_until = now + after.min(LONGEST_PAUSE);
                }
                let wait = retry.map_or(FIRST_RETRY, |(_, wait)| (wait * 2).min(LAST_RETRY));
                error.is_retryable().then(|| ((now + wait).max(paused_until), wait))
            });
        }
    }

    /// Drops all reports, for when metrics are not exported. Renewed certificates are still read.
    pub async fn drop_all(mut self, mut newest: watch::Receiver<Newest>) {
        while newest.changed().await.is_ok() {
            newest.borrow_and_update();
            self.renew().await;
        }
    }

    /// The earliest time at which a report may be sent.
    fn earliest(&self, newest: &Newest) -> Instant {
        // Time that the report has already waited counts towards its delay. After the clock was set back its age is
        // not known, and counts as 0.
        let age = newest.payload.as_ref().and_then(|payload| payload.report.at.elapsed().ok());
        Instant::now() + self.delay.saturating_sub(age.unwrap_or_default())
    }

    /// Tries once. Returns `None` if the last report came before the attempt was done.
    async fn deliver(
        &mut self,
        payload: &Payload,
        last_by: Option<Instant>,
        last: &mut watch::Receiver<Newest>,
    ) -> Option<Result<(), ExportError>> {
        self.renew().await;
        let timeout = self.client.receiver().timeout;
        let limit = last_by.map_or(timeout, |by| timeout.min(by.saturating_duration_since(Instant::now())));
        let attempt = attempt(&mut self.client, &self.messages, payload, limit);
        let outcome = if last_by.is_some() {
            attempt.await
        } else {
            let outcome = tokio::select! {
                biased;
                outcome = attempt => Some(outcome),
                Ok(_) = last.wait_for(|newest| newest.last_by.is_some()) => None,
            };
            let Some(outcome) = outcome else {
                // The attempt may have been waiting on a dead connection.
                self.client.reconnect();
                return None;
            };
            outcome
        };
        let now = std::time::Instant::now();
        match outcome {
            Ok(rejected) => {
                if let Some((times, lasted)) = self.unreachable.resolved(now) {
                    tracing::info!(
                        "exports arrive again, after {times} failed in {}",
                        units::duration(lasted)
                    );
                }
                self.note_rejected(&rejected, now);
                Some(Ok(()))
            }
            Err(error) => {
                self.counts.failed.fetch_add(1, Relaxed);
                if error.is_of_connection() {
                    self.client.reconnect();
                }
                let endpoint = self.client.receiver().way();
                match self.unreachable.occurred(now, &error.kind()) {
                    Some(Notice::New) => {
                        let pause = error.after().map(next_in).unwrap_or_default();
                        tracing::warn!("export to {endpoint} failed: {error}{pause}");
                    }
                    Some(Notice::Ongoing { times, lasted }) => tracing::warn!(
                        "export to {endpoint} still fails, {times} times in {}: {error}",
                        units::duration(lasted)
                    ),
                    None => tracing::debug!("export to {endpoint} failed: {error}"),
                }
                Some(Err(error))
            }
        }
    }

    async fn renew(&mut self) {
        // A renewal that takes longer is repeated at the next export.
        let Ok(renewed) = timeout(RENEWAL, self.client.renew()).await else { return };
        let now = std::time::Instant::now();
        match renewed {
            Ok(()) => {
                let _ = self.old_certificates.resolved(now);
            }
            Err(error) => {
                if self.old_certificates.occurred(now, &error.to_string()).is_some() {
                    tracing::warn!(
                        "renewed certificates can't be used, those from before stay in use: {error}"
                    );
                }
            }
        }
    }

    fn note_rejected(&mut self, rejected: &Rejected, now: std::time::Instant) {
        if rejected.points == 0 && rejected.message.is_empty() {
            let _ = self.not_accepted.resolved(now);
            return;
        }
        self.counts.rejected.fetch_add(rejected.points, Relaxed);
        if self.not_accepted.occurred(now, &rejected.message).is_some() {
            match (rejected.points, &rejected.message) {
                (0, message) => tracing::warn!("the receiver accepted an export, but says: {message}"),
                (points, message) => {
                    tracing::warn!("the receiver did not accept {points} points of an export: {message}");
                }
            }
        }
    }
}

/// When the next export follows, if the receiver asked for a pause.
fn next_in(after: Duration) -> String {
    let seconds = after.min(LONGEST_PAUSE).as_secs();
    if after < FIRST_RETRY {
        String::new()
    } else if after > LONGEST_PAUSE {
        format!("; next in {seconds} s, as more is not waited (it asked for {} s)", after.as_secs())
    } else {
        format!("; next in {seconds} s")
    }
}
