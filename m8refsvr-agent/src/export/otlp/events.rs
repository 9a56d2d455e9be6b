//! Exits of processes as log records. The SDK makes the records, and opentelemetry-otlp's exporter sends them. Between
//! both is a queue of the agent's own: the SDK's batch processor wakes up each second even when it has nothing to do.
//! Nothing here delays a collection or an export of metrics.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::{
    InstrumentationScope,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    instruments::SCOPE,
    resource::Resource,
    retry::{FIRST_RETRY, LAST_RETRY, LONGEST_PAUSE, RENEWAL},
    transport::{Client, ExportError, Records},
};
use crate::{
    logging::{
        exits::sentence,
        throttle::{Notice, Throttle},
        units,
    },
    model::exit::{EndKind, Exit, ProcessEnd},
};

const EXIT: &str = "m8refsvr.process.exit";
/// Size of the queue. Records beyond it are dropped and counted.
const QUEUE: usize = 1000;
/// Records in one request.
const BATCH: usize = 256;
/// How long to wait for further records, which often follow at once.
const GATHERING: Duration = Duration::from_millis(200);

pub struct ExitEvents {
    logger: SdkLogger,
    groups: Vec<Arc<str>>,
}

impl fmt::Debug for ExitEvents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ExitEvents").finish_non_exhaustive()
    }
}

/// Sends log records; [`LogSender::run`] is its task.
#[derive(Debug)]
pub struct LogSender {
    queue: mpsc::Receiver<(SdkLogRecord, InstrumentationScope)>,
    client: Client,
    dropped: Dropped,
    /// When the agent is stopped, the deadline for sending.
    end: watch::Receiver<Option<Instant>>,
    unreachable: Throttle,
}

/// Count of records that were not sent.
#[derive(Clone, Debug, Default)]
pub struct Dropped(Arc<AtomicU64>);

impl Dropped {
    pub fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Relaxed);
    }
}

/// Makes both ends of the queue. The sender runs until [`ExitEvents`] is dropped. `groups` has the names of the groups.
pub fn exit_events(
    client: Client,
    resource: &Resource,
    groups: Vec<Arc<str>>,
    dropped: Dropped,
    end: watch::Receiver<Option<Instant>>,
) -> (ExitEvents, LogSender) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let processor = Queue { sender, dropped: dropped.clone() };
    let provider =
        SdkLoggerProvider::builder().with_resource(resource.for_sdk()).with_log_processor(processor).build();
    let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
    let sender = LogSender { queue, client, dropped, end, unreachable: Throttle::default() };
    (ExitEvents { logger: provider.logger_with_scope(scope), groups }, sender)
}

impl ExitEvents {
    /// Puts the log record of an exit into the queue. A process that was deselected has none.
    pub fn emit(&self, end: &ProcessEnd) {
        let EndKind::Exited(exit) = end.how else { return };
        let mut record = self.logger.create_log_record();
        record.set_event_name(EXIT);
        record.set_timestamp(end.at);
        let severity = severity(exit);
        record.set_severity_number(severity);
        record.set_severity_text(severity.name());
        record.set_body(sentence(end, exit).into());
        let executable = end.executable.as_ref().unwrap_or(&end.name);
        let created = humantime::format_rfc3339_millis(end.started).to_string();
        let attributes: [(&'static str, Option<AnyValue>); 10] = [
            ("process.pid", Some(i64::from(end.identity.pid).into())),
            ("process.creation.time", Some(created.into())),
            ("process.executable.name", Some(executable.to_string().into())),
            ("process.exit.code", exit.status_code().map(|code| i64::from(code).into())),
            ("m8refsvr.exit.reason", Some(exit.reason().into())),
            ("m8refsvr.exit.signal", exit.signal().map(|signal| i64::from(signal).into())),
            ("m8refsvr.exit.core_dumped", exit.signal().map(|_| exit.core_dumped().into())),
            ("m8refsvr.exit.run_time", Some(end.lasted.as_secs_f64().into())),
            (
                "m8refsvr.exit.peak_rss",
                end.peak_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX).into()),
            ),
            ("m8refsvr.group", self.groups.get(end.group).map(|group| group.to_string().into())),
        ];
        record.add_attributes(attributes.into_iter().filter_map(|(name, value)| Some((name, value?))));
        self.logger.emit(record);
    }
}

/// The severity of an exit.
fn severity(exit: Exit) -> Severity {
    match exit {
        Exit::Code(0) | Exit::Unknown => Severity::Info,
        Exit::Code(_) => Severity::Warn,
        Exit::Signal { .. } => Severity::Error,
        Exit::Oom => Severity::Fatal,
    }
}

/// Puts records into the queue, and drops those that don't fit.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<(SdkLogRecord, InstrumentationScope)>,
    dropped: Dropped,
}

impl LogProcessor for Queue {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.sender.try_send((record.clone(), scope.clone())).is_err() {
            self.dropped.add(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl LogSender {
    /// Sends records in batches, until [`ExitEvents`] is dropped and the queue is empty.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.queue.recv_many(&mut batch, BATCH).await > 0 {
            if batch.len() < BATCH && self.end.borrow().is_none() {
                sleep(GATHERING).await;
                while batch.len() < BATCH
                    && let Ok(record) = self.queue.try_recv()
                {
                    batch.push(record);
                }
            }
            let records = Arc::new(std::mem::take(&mut batch));
            if !self.deliver(&records).await {
                self.dropped.add(records.len());
            }
        }
    }

    /// Tries until it succeeds, gets an error that is not retryable, or the agent stops. Returns whether it succeeded.
    async fn deliver(&mut self, records: &Records) -> bool {
        let mut wait = FIRST_RETRY;
        loop {
            let is_last = self.end.borrow().is_some();
            let outcome = self.attempt(records).await;
            let now = std::time::Instant::now();
            let error = match outcome {
                Ok(rejected) => {
                    self.dropped.add(usize::try_from(rejected).unwrap_or(usize::MAX).min(records.len()));
                    if let Some((times, lasted)) = self.unreachable.resolved(now) {
                        let lasted = units::duration(lasted);
                        tracing::info!("exit events arrive again, after {times} failed exports in {lasted}");
                    }
                    return true;
                }
                Err(error) => error,
            };
            let endpoint = self.client.receiver().way();
            match self.unreachable.occurred(now, &error.kind()) {
                Some(Notice::New) => tracing::warn!("export of exit events to {endpoint} failed: {error}"),
                Some(Notice::Ongoing { times, lasted }) => tracing::warn!(
                    "export of exit events to {endpoint} still fails, {times} times in {}: {error}",
                    units::duration(lasted)
                ),
                None => tracing::debug!("export of exit events to {endpoint} failed: {error}"),
            }
            if is_last || !error.is_retryable() {
                return false;
            }
            let pause = error.after().unwrap_or_default().max(wait).min(LONGEST_PAUSE);
            tokio::select! {
                () = sleep(pause) => {}
                // The agent stops: one more attempt, without waiting.
                _ = self.end.wait_for(Option::is_some) => {}
            }
            wait = (wait * 2).min(LAST_RETRY);
        }
    }

    /// Tries once, and returns how many records were rejected. An attempt that is under way when the agent stops has
    /// until the shutdown deadline.
    async fn attempt(&mut self, records: &Records) -> Result<u64, ExportError> {
        let limit = self.client.receiver().timeout;
        let Self { client, end, .. } = self;
        let mut by = Instant::now() + limit;
        // Certificates that can't be read now are read again at the next export.
        if let Ok(Err(error)) = timeout(RENEWAL, client.renew()).await {
            tracing::debug!("renewed certificates can't be used for log records: {error}");
        }
        let outcome = {
            let mut export = std::pin::pin!(client.export_logs(records));
            let deadline = *end.borrow_and_update();
            by = deadline.map_or(by, |end| by.min(end));
            loop {
                tokio::select! {
                    outcome = timeout_at(by, &mut export) => break outcome,
                    Ok(()) = end.changed(), if deadline.is_none() => {
                        by = end.borrow_and_update().map_or(by, |end| by.min(end));
                    }
                }
            }
        };
        let outcome = outcome.unwrap_or(Err(ExportError::Timeout(limit)));
        if outcome.as_ref().is_err_and(ExportError::is_of_connection) {
            self.client.reconnect();
        }
        outcome.map(|rejected| rejected.points)
    }
}
