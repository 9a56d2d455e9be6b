//! Without a command: collects and exports until SIGTERM or SIGINT.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT};
use tokio::{sync::watch, time::Instant};

use super::{
    failure::BROKEN,
    setup::{collector, named},
    signals::{Signals, by_signal},
};
use crate::{
    bpf::Kernel,
    cli::Ebpf,
    collector::Collector,
    config::{Settings, export::Export},
    export::otlp::{
        self, Client, Compression, Counts, Exporter, Instruments, Newest, ProcessMessages, exit_events,
    },
    logging::Log,
    metrics::report::Reporter,
    proc::system::Host,
    service::{LAST_EXPORT, Service, schedule, sd_notify::Manager},
    sys::capabilities,
};

/// From the signal to the end, whatever hangs: a receiver, a collection, the resolution of a name.
const END: Duration = Duration::from_millis(4600);

/// What failed where the task that exports ended by itself.
const BROKE_OFF: &str = "exporting broke off";

/// What /proc alone does not have.
const NOT_COUNTED: &str = "not counted are requests to block devices (m8refsvr.block.*), context switches of threads that \
    exited, and processes that start and exit between two collections; how processes exited is not known";

/// A signal that follows another so soon is the same.
const REPEATED: Duration = Duration::from_secs(1);

pub(super) async fn monitor(
    settings: Settings,
    export: Export,
    started: SystemTime,
    log: Log,
) -> Result<ExitCode> {
    let signals = Signals::listen()?;
    let (stop, stopped) = watch::channel(None);
    let pins = Arc::new(OnceLock::new());
    // From here on, whatever hangs: also the files that are read now.
    let of_signals = Arc::clone(&pins);
    let nothing = export.nothing_leaves();
    let last = if nothing.is_some() { "" } else { " after a last collection and export" };
    signals.follow(move |signal| follow(signal, &stop, &log, &of_signals, last))?;
    if let Some(nothing) = nothing {
        return idle(&nothing, &export, stopped).await;
    }
    let client = Client::new(export.receiver.clone()).map_err(|error| named(&settings, error))?;
    let collector =
        collector(&settings, &|what| tracing::warn!("{what}"))?.with_attributes(export.attributes);
    if let Some(pinned) = collector.kernel().and_then(Kernel::pinned) {
        pins.get_or_init(|| pinned.to_owned());
    }
    capabilities::for_collections(|| collector.kernel().is_none_or(Kernel::reaches_maps));
    log_what_is_in_force(&settings, &export, &collector);
    let counts = Arc::new(Counts::default());
    let patterns: Vec<String> = collector.selector().patterns().map(str::to_owned).collect();
    let (end, ends) = watch::channel(None);
    let (exits, logs) = if export.exits {
        let client = Client::for_logs(&export.receiver, &export.resource);
        let client = client.map_err(|error| named(&settings, error))?;
        let groups = patterns.iter().map(|pattern| pattern.as_str().into()).collect();
        let (exits, logs) = exit_events(client, &export.resource, groups, counts.count_exits(), ends);
        (Some(exits), Some(logs))
    } else {
        (None, None)
    };
    let logs = logs.map(|logs| tokio::spawn(logs.run()));
    let instruments = Instruments::new(export.names, &export.resource, patterns.len());
    let reporter = Reporter::new(started, patterns, export.max_series_processes);
    let (sender, newest) = watch::channel(Newest::default());
    let delay = schedule::export_delay(settings.interval, otlp::number(&Host::this()));
    tracing::debug!("exports are {delay:?} after the collections");
    let messages = ProcessMessages::new(export.names, export.resource, export.identity);
    let exporter = Exporter::new(client, messages, delay, Arc::clone(&counts));
    let mut delivery = if export.metrics {
        tokio::spawn(exporter.run(newest))
    } else {
        tokio::spawn(exporter.drop_all(newest))
    };
    let service =
        Service::new(collector, reporter, instruments, settings.interval, sender, counts).with_exits(exits);
    let stopping = stopped.clone();
    tokio::spawn(hand_end(stopping, end));
    let collector = tokio::select! {
        biased;
        // An agent that collects and never exports would be of no use; one that ends is started again.
        broken = &mut delivery => {
            broken.context(BROKE_OFF)?;
            bail!(BROKE_OFF);
        }
        collector = service.run(stopped) => collector,
    };
    if let Err(error) = delivery.await {
        tracing::error!("the last export broke off: {error}");
    }
    if let Some(logs) = logs {
        // Its own limit is the same as that of the last export.
        let _ = logs.await;
    }
    // Detaches the BPF programs and removes the pins.
    drop(collector);
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Hands on by when all exports must be over, once the agent is to stop.
async fn hand_end(mut stopped: watch::Receiver<Option<Instant>>, end: watch::Sender<Option<Instant>>) {
    if let Ok(since) = stopped.wait_for(Option::is_some).await.map(|since| *since) {
        end.send_replace(since.map(|since| since + LAST_EXPORT));
    }
}

/// Where nothing is exported, nothing is collected either. A service manager is notified that the agent runs.
async fn idle(
    nothing: &str,
    export: &Export,
    mut stopped: watch::Receiver<Option<Instant>>,
) -> Result<ExitCode> {
    for remark in &export.remarks {
        tracing::warn!("{remark}");
    }
    let version = env!("CARGO_PKG_VERSION");
    tracing::warn!(
        "m8refsvr-agent {version}: {nothing}; nothing is collected until it is restarted without that"
    );
    let mut manager = Manager::of_this_process();
    manager.ready(|| nothing.to_owned());
    loop {
        manager.alive();
        tokio::select! {
            biased;
            // The other end is never dropped before.
            _ = stopped.wait_for(Option::is_some) => break,
            () = manager.due() => {}
        }
    }
    manager.ends();
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Acts on a signal. The first one that stops the agent leaves time for a last export, the second none. The log may be
/// what hangs, so nothing waits for it for long.
fn follow(
    signal: i32,
    stop: &watch::Sender<Option<Instant>>,
    log: &Log,
    pins: &Arc<OnceLock<PathBuf>>,
    last: &'static str,
) {
    if signal == SIGHUP {
        let log = log.clone();
        aside(move || log.reopen());
        return;
    }
    let first = *stop.borrow();
    match first {
        // Some send the same signal twice.
        Some(first) if first.elapsed() < REPEATED => {}
        Some(_) => end(by_signal(signal), "received a second signal: stopping without a last export", pins),
        None => {
            let since = Instant::now();
            let pins = Arc::clone(pins);
            aside(move || {
                thread::sleep(END);
                end(BROKEN, "something hangs: stopping without waiting for it", &pins);
            });
            // Before all that the stop brings about, so that the lines of the log are in order.
            log_aside(move || tracing::info!("received {}: stopping{last}", name(signal)));
            stop.send_replace(Some(since));
        }
    }
}

/// Exits at once. The kernel detaches the BPF programs.
fn end(code: u8, why: &'static str, pins: &OnceLock<PathBuf>) -> ! {
    if let Some(folder) = pins.get() {
        // Those that stay are removed by the next agent.
        let _ = std::fs::remove_dir_all(folder);
    }
    log_aside(move || tracing::error!("{why}"));
    std::process::exit(code.into())
}

/// Logs, and returns once it is done, or after a short time where the log hangs.
fn log_aside(line: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    aside(move || {
        line();
        // The other end is gone when it took too long.
        let _ = done.send(());
    });
    let _ = is_done.recv_timeout(Duration::from_millis(100));
}

fn name(signal: i32) -> &'static str {
    if signal == SIGINT { "SIGINT" } else { "SIGTERM" }
}

/// Does something that may hang, in a thread of its own. Where there can be no more threads, it is left out.
fn aside(what: impl FnOnce() + Send + 'static) {
    let _ = thread::Builder::new().spawn(what);
}

fn log_what_is_in_force(settings: &Settings, export: &Export, collector: &Collector) {
    let sources = collector.sources();
    let receiver = &export.receiver;
    let compression = match receiver.compression {
        Compression::Gzip => "gzip",
        Compression::None => "none",
    };
    let shown =
        |path: Option<&PathBuf>| path.map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    tracing::info!(
        "m8refsvr-agent {}: every {} s processes matching {}, context switches from {}, block I/O from {}, lifecycle from {}",
        env!("CARGO_PKG_VERSION"),
        settings.interval.as_secs_f64(),
        collector.selector().in_words(),
        sources.context_switches.name(),
        sources.block_io.name(),
        sources.lifecycle.name(),
    );
    tracing::info!(
        "exporting to {} by {}{}, compression {compression}, timeout {} s, headers {}, names {}{}",
        receiver.shown(),
        receiver.protocol.name(),
        receiver
            .proxy
            .as_ref()
            .map_or_else(String::new, |proxy| format!(" through the proxy {}", proxy.shown())),
        receiver.timeout.as_secs_f64(),
        export.masked_headers,
        match (export.names.otel, export.names.instana) {
            (true, true) => "both",
            (true, false) => "otel",
            _ => "instana",
        },
        export
            .max_series_processes
            .map_or_else(String::new, |most| format!(", series for each of {most} processes at most")),
    );
    if let Some(files) = &receiver.tls {
        tracing::info!(
            "TLS: authorities {}, client certificate {}, key {}",
            files
                .authorities
                .as_ref()
                .map_or_else(|| "of the system".to_owned(), |it| it.display().to_string()),
            shown(files.client.as_ref().map(|(certificate, _)| certificate)),
            shown(files.client.as_ref().map(|(_, key)| key)),
        );
    }
    if collector.kernel().is_none() {
        let why = if settings.ebpf == Ebpf::Off { "--ebpf off" } else { "/proc alone" };
        tracing::warn!("{why}: {NOT_COUNTED}");
    }
    for remark in &export.remarks {
        tracing::warn!("{remark}");
    }
    if let Some(off_by) = export.off_by {
        tracing::warn!("no metrics are exported: {off_by}");
    }
    for problem in collector.kernel().map(Kernel::problems).unwrap_or_default() {
        tracing::warn!("{problem}");
    }
}
