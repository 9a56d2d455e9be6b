//! Without a command: looks and exports until SIGTERM or SIGINT.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::SIGHUP;
use tokio::{sync::watch, time::Instant};

use super::{
    failure::BROKEN,
    setup::{collector, named},
    signals::{Signals, by_signal},
};
use crate::{
    bpf::Kernel,
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
    let what_follows =
        if nothing.is_some() { "told to end" } else { "told to end: looking and exporting once more" };
    signals.follow(move |signal| follow(signal, &stop, &log, &of_signals, what_follows))?;
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
    tell_what_is_in_force(&settings, &export, &collector);
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
    let reporter = Reporter::new(started, patterns, export.listed);
    let (sender, newest) = watch::channel(Newest::default());
    let delay = schedule::turn(settings.interval, otlp::number(&Host::this()));
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
        // An agent that looks and never exports would be of no use; one that ends is started again.
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
    // Detaches the programs and removes the pins.
    drop(collector);
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

/// Says by when all exports must be over, once the agent is to end.
async fn hand_end(mut stopped: watch::Receiver<Option<Instant>>, end: watch::Sender<Option<Instant>>) {
    if let Ok(since) = stopped.wait_for(Option::is_some).await.map(|since| *since) {
        end.send_replace(since.map(|since| since + LAST_EXPORT));
    }
}

/// Where nothing is exported nothing is looked at either. Who started the agent as a service is told that it goes on.
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
        "m8refsvr-agent {version}: {nothing}; no process is looked at until it is started without that"
    );
    let mut manager = Manager::of_this_process();
    manager.looked(|| nothing.to_owned());
    loop {
        manager.turns();
        tokio::select! {
            biased;
            // The other end is never dropped before.
            _ = stopped.wait_for(Option::is_some) => break,
            () = manager.due() => {}
        }
    }
    manager.ends();
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

/// Does what signals say. The first one to end leaves time for a last export, the second none. Nothing is logged
/// before it is done: the log may be what hangs.
fn follow(
    signal: i32,
    stop: &watch::Sender<Option<Instant>>,
    log: &Log,
    pins: &Arc<OnceLock<PathBuf>>,
    what_follows: &'static str,
) {
    if signal == SIGHUP {
        let log = log.clone();
        aside(move || log.reopen());
        return;
    }
    let first = *stop.borrow();
    match first {
        // Some who end a program do it twice.
        Some(first) if first.elapsed() < REPEATED => {}
        Some(_) => end(by_signal(signal), "told to end twice: ending without a last export", pins),
        None => {
            stop.send_replace(Some(Instant::now()));
            let pins = Arc::clone(pins);
            aside(move || {
                thread::sleep(END);
                end(BROKEN, "something hangs: ending without waiting for it", &pins);
            });
            aside(move || tracing::info!("{what_follows}"));
        }
    }
}

/// Ends at once. The kernel detaches the programs.
fn end(code: u8, why: &'static str, pins: &OnceLock<PathBuf>) -> ! {
    if let Some(folder) = pins.get() {
        // Those that stay are removed by the next agent.
        let _ = std::fs::remove_dir_all(folder);
    }
    let (done, is_done) = mpsc::channel();
    aside(move || {
        tracing::error!("{why}");
        // Nobody waits any more when it took too long.
        let _ = done.send(());
    });
    let _ = is_done.recv_timeout(Duration::from_millis(100));
    std::process::exit(code.into())
}

/// Does something that may hang, in a thread of its own. Where there can be no more threads, it is left out.
fn aside(what: impl FnOnce() + Send + 'static) {
    let _ = thread::Builder::new().spawn(what);
}

fn tell_what_is_in_force(settings: &Settings, export: &Export, collector: &Collector) {
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
            .listed
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
