//! Without a command: looks and exports until SIGTERM or SIGINT.

use std::{
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use tokio::{signal::unix::SignalKind, sync::watch, time::Instant};

use super::{
    Failure, observer,
    signals::{Signals, by_signal},
};
use crate::{
    export::otlp::{Client, Compression, Counts, Deliverer, Newest, Protocol},
    logging::Log,
    report::Reporter,
    sample::Observer,
    service::Service,
    settings::{Settings, export::Export},
};

/// From the signal to the end, whatever hangs: a receiver, a look, the resolution of a name.
const END: Duration = Duration::from_millis(4800);

pub(super) async fn monitor(
    settings: Settings,
    export: Export,
    started: SystemTime,
    log: Log,
) -> Result<ExitCode, Failure> {
    let signals = Signals::listen()?;
    let client = Client::new(export.target.clone())?;
    let observer = observer(&settings, &|what| tracing::warn!("{what}"))?;
    tell_what_is_in_force(&settings, &export, &observer);
    let counts = Arc::new(Counts::default());
    let patterns = observer.selector().patterns().map(str::to_owned).collect();
    let reporter = Reporter::new(started, patterns, export.listed);
    let (sender, newest) = watch::channel(Newest::default());
    let (stop, stopped) = watch::channel(None);
    tokio::spawn(follow(signals, stop, log));
    let deliverer = Deliverer::new(client, export.resource, export.names, Arc::clone(&counts));
    let mut delivery = tokio::spawn(deliverer.run(newest));
    let service = Service::new(observer, reporter, settings.interval, sender, counts);
    let observer = tokio::select! {
        biased;
        // An agent that looks and never exports would be of no use; one that ends is started again.
        broken = &mut delivery => return Err(Failure::Delivery(broken.err().map(|error| error.to_string()).unwrap_or_default())),
        observer = service.run(stopped) => observer,
    };
    if let Err(error) = delivery.await {
        tracing::error!("the last export broke off: {error}");
    }
    // Detaches the programs and removes the pins.
    drop(observer);
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

/// Does what signals say. The first one to end leaves time for a last export, the second none.
async fn follow(mut signals: Signals, stop: watch::Sender<Option<Instant>>, log: Log) {
    loop {
        match signals.next().await {
            kind if kind == SignalKind::hangup() => log.reopen(),
            kind if stop.borrow().is_some() => {
                tracing::warn!("told to end twice: ending without a last export");
                // The kernel detaches the programs; pins that stay are removed by the next agent.
                std::process::exit(by_signal(kind).into());
            }
            _ => {
                tracing::info!("told to end: looking and exporting once more");
                stop.send_replace(Some(Instant::now()));
                // A thread of its own, as the others may be what hangs.
                thread::spawn(|| {
                    thread::sleep(END);
                    tracing::error!("something hangs: ending without waiting for it");
                    std::process::exit(super::BROKEN.into());
                });
            }
        }
    }
}

fn tell_what_is_in_force(settings: &Settings, export: &Export, observer: &Observer) {
    let sources = observer.sources();
    let target = &export.target;
    let protocol = match target.protocol {
        Protocol::Grpc => "grpc",
        Protocol::HttpProtobuf => "http/protobuf",
    };
    let compression = match target.compression {
        Compression::Gzip => "gzip",
        Compression::None => "none",
    };
    let shown = |path: Option<&std::path::PathBuf>| {
        path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    };
    tracing::info!(
        "m8refsvr-agent {}: every {} s processes matching {}, context switches from {}, block I/O from {}",
        env!("CARGO_PKG_VERSION"),
        settings.interval.as_secs_f64(),
        observer.selector().in_words(),
        sources.context_switches.name(),
        sources.block_io.name(),
    );
    tracing::info!(
        "exporting to {} by {protocol}, compression {compression}, timeout {} s, headers {}, names {}{}",
        target.shown(),
        target.timeout.as_secs_f64(),
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
    if let Some(files) = &target.tls {
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
    for problem in observer.kernel().map(crate::kernel::Kernel::problems).unwrap_or_default() {
        tracing::warn!("{problem}");
    }
}
