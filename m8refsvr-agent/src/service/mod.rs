//! The collection loop: collects when it is due and hands over the report, until it is stopped. Another task exports.

pub mod event_wakeup;
pub mod schedule;
pub mod sd_notify;
pub mod self_stats;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    collector::Collector,
    export::otlp::{Counts, ExitEvents, Instruments, Newest, Payload},
    logging::{
        exits::{ExitLog, Line},
        throttle::{Notice, Throttle},
        units,
    },
    metrics::report::Reporter,
    model::{exit::ProcessEnd, missing::Key, sample::Sample},
    service::{
        event_wakeup::EventWakeup,
        schedule::Schedule,
        sd_notify::Manager,
        self_stats::{Collections, SkippedRuns},
    },
    sys::heap,
};

/// After this many exits since the last collection, the next one is early, so that exits don't pile up in memory.
const ENDS_IN_MEMORY: usize = 10_000;

/// Time for the last export, from the signal that stops the agent.
pub const LAST_EXPORT: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub struct Service {
    collector: Collector,
    reporter: Reporter,
    instruments: Instruments,
    interval: Duration,
    newest: watch::Sender<Newest>,
    /// The number of the last sample's report; `None` if it has none.
    reported_as: Option<u64>,
    counts: Arc<Counts>,
    collections: Collections,
    unreadable: Throttle,
    skipped_runs: SkippedRuns,
    is_alone: Option<bool>,
    reported: BTreeSet<Key>,
    exit_log: ExitLog,
    exits: Option<ExitEvents>,
    manager: Manager,
}

impl Service {
    /// Collects with `collector` at this interval. What `reporter` and `instruments` make of each sample goes to the
    /// receiver of `newest`.
    pub fn new(
        collector: Collector,
        reporter: Reporter,
        instruments: Instruments,
        interval: Duration,
        newest: watch::Sender<Newest>,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            collector,
            reporter,
            instruments,
            interval,
            newest,
            reported_as: None,
            counts,
            collections: Collections::default(),
            unreadable: Throttle::default(),
            skipped_runs: SkippedRuns::default(),
            is_alone: None,
            reported: BTreeSet::new(),
            exit_log: ExitLog::new(std::time::Instant::now()),
            exits: None,
            manager: Manager::of_this_process(),
        }
    }

    /// Also makes a log record of each exit.
    pub fn with_exits(mut self, exits: Option<ExitEvents>) -> Self {
        self.exits = exits;
        self
    }

    /// Collects once, and then when it is due. `stop` carries the time at which the agent was stopped. Returns after a
    /// last collection, with the collector, whose BPF programs still count.
    pub async fn run(mut self, mut stop: watch::Receiver<Option<Instant>>) -> Collector {
        let wakeup = EventWakeup::new(&self.collector)
            .inspect_err(|error| {
                tracing::warn!("events of the BPF programs are followed at collections alone: {error}")
            })
            .unwrap_or_default();
        let mut schedule = Schedule::new(self.interval);
        self.collect(None);
        self.collections.skipped += schedule.skipped(self.collections.last);
        heap::give_back();
        let mut is_second = true;
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let wait = schedule.wait(now);
            let due = Instant::now() + wait;
            self.manager.alive();
            loop {
                tokio::select! {
                    biased;
                    stopped = stop.wait_for(Option::is_some) => {
                        // The sender outlives this loop. If it were dropped, nothing could stop the agent any more.
                        let since = stopped.ok().and_then(|since| *since).unwrap_or_else(Instant::now);
                        self.manager.ends();
                        self.collect(Some(since + LAST_EXPORT));
                        self.exit_log.left_out().iter().for_each(Line::log);
                        return self.collector;
                    }
                    () = sleep_until(due) => break,
                    // The watchdog is notified only in this loop: a collection that hangs or takes too long
                    // sends nothing.
                    () = self.manager.due() => self.manager.alive(),
                    () = wakeup.wait() => self.follow(),
                }
            }
            self.collect(None);
            if std::mem::take(&mut is_second) {
                // By now there usually was a first export too.
                heap::give_back();
            }
            let skipped = schedule.skipped(Instant::now().saturating_duration_since(due));
            if skipped > 0 {
                tracing::debug!("a collection took {:?}, longer than the interval", self.collections.last);
            }
            self.collections.skipped += skipped;
        }
    }

    /// Handles the events of the BPF programs, and logs the exits among them.
    fn follow(&mut self) {
        match self.collector.follow() {
            Ok(ends) => {
                report_ends(ends, &mut self.exit_log, self.exits.as_ref());
                if ends.len() >= ENDS_IN_MEMORY {
                    self.collect(None);
                }
            }
            // The next collection will fail too, and log the error.
            Err(error) => tracing::debug!("events of the BPF programs can't be followed: {error}"),
        }
    }

    /// One collection, whose report is handed over. If it fails, there is no new report.
    fn collect(&mut self, last_by: Option<Instant>) {
        let began = Instant::now();
        let outcome = self.collector.collect();
        self.collections.last = began.elapsed();
        let now = std::time::Instant::now();
        let payload = match outcome {
            Ok(sample) => {
                if let Some((times, lasted)) = self.unreadable.resolved(now) {
                    tracing::info!(
                        "/proc can be read again, after {times} collections in {}",
                        units::duration(lasted)
                    );
                }
                self.report_changes(&sample);
                let agent = self_stats::report(&self.collector, self.collections, self.counts.now());
                if let Some(sentence) = self.skipped_runs.news(&agent.programs, now) {
                    tracing::warn!("{sentence}");
                }
                let machine = self_stats::machine(&self.collector);
                // A report that is on its way counts as exported: the share of a shorter time is right too.
                let was_exported = self.reported_as.is_some_and(|number| self.counts.begun() >= number);
                self.reported_as = None;
                let report = self.reporter.report(&sample, machine, agent, was_exported);
                self.instruments
                    .collect(report)
                    .inspect_err(|error| tracing::error!("the metrics can't be collected: {error}"))
                    .ok()
                    .map(Arc::<Payload>::new)
            }
            Err(error) => {
                self.collections.failed += 1;
                match self.unreadable.occurred(now, &error.to_string()) {
                    Some(Notice::New) => tracing::error!("cannot read /proc: {error}"),
                    Some(Notice::Ongoing { times, lasted }) => {
                        tracing::error!(
                            "cannot read /proc, {times} times in {}: {error}",
                            units::duration(lasted)
                        );
                    }
                    None => {}
                }
                None
            }
        };
        self.newest.send_if_modified(|newest| {
            let is_new = payload.is_some();
            if is_new {
                newest.number += 1;
                newest.payload = payload;
                self.reported_as = Some(newest.number);
            }
            newest.last_by = last_by;
            is_new || last_by.is_some()
        });
    }

    /// Logs what changed about the processes, each change once.
    fn report_changes(&mut self, sample: &Sample) {
        report_ends(&sample.ends, &mut self.exit_log, self.exits.as_ref());
        self.exit_log.end_collection();
        let is_alone = sample.processes.is_empty();
        let selector = self.collector.selector();
        let found = || match sample.processes.len() {
            0 => format!("No processes found matching {}", selector.in_words()),
            1 => format!("1 process matches {}", selector.in_words()),
            count => format!("{count} processes match {}", selector.in_words()),
        };
        if self.is_alone.replace(is_alone) != Some(is_alone) {
            if is_alone {
                tracing::warn!("{}", found());
            } else {
                tracing::info!("{}", found());
            }
        }
        self.manager.ready(found);
        for sentence in sample.missing_values.unreported(&mut self.reported) {
            tracing::warn!("{sentence}");
        }
        let took = 1e3 * self.collections.last.as_secs_f64();
        tracing::debug!("{} processes in {took:.3} ms", sample.processes.len());
    }
}

/// Logs and emits the exits that were not reported yet.
fn report_ends(ends: &[ProcessEnd], log: &mut ExitLog, exits: Option<&ExitEvents>) {
    let new = log.new_exits(ends);
    if let Some(exits) = exits {
        new.iter().for_each(|end| exits.emit(end));
    }
    log.lines(&new, std::time::Instant::now()).iter().for_each(Line::log);
}
