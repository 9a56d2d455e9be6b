//! `--once`: two collections, one document, one export.

use std::{
    process::ExitCode,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result};

use super::{
    failure::{EXPORT_FAILED, NO_PROCESS},
    output::{json, notice, print},
    setup::{READING, collector, follow, named},
    signals::Signals,
};
use crate::{
    bpf::Kernel,
    collector::Collector,
    config::{Settings, export::Export},
    export::{
        document::{Context, Document},
        otlp::{Client, Instruments, ProcessMessages, attempt},
    },
    metrics::report::{Exports, Report, Reporter},
    model::sample::Sample,
    proc::system::{Host, memory_bytes},
    service::self_stats::{self, Collections},
};

pub(super) async fn once(
    settings: Settings,
    export: Option<Export>,
    started: SystemTime,
) -> Result<ExitCode> {
    let mut signals = Signals::listen()?.handed_on()?;
    if let Some(export) = &export {
        export.remarks.iter().for_each(|remark| notice(remark));
        if let Some(off_by) = export.off_by {
            notice(&format_args!("nothing is exported: {off_by}"));
        }
        if export.exits {
            notice(&"log records of exits are exported by the running agent alone, not with --once");
        }
    }
    let way_out = match export.filter(|export| export.metrics) {
        Some(export) => {
            let receiver = export.receiver.clone();
            // Its files may lie where reading them hangs.
            let client = tokio::task::spawn_blocking(|| Client::new(receiver));
            let client = tokio::select! {
                biased;
                ended = signals.next() => return Ok(ended),
                client = client => client.context("exporting broke off")?,
            };
            let client = client.map_err(|error| named(&settings, error))?;
            Some((client, export))
        }
        None => None,
    };
    let attributes = way_out.as_ref().map(|(_, export)| export.attributes).unwrap_or_default();
    let mut collector = collector(&settings, &notice)?.with_attributes(attributes);
    let max_series_processes = way_out.as_ref().and_then(|(_, export)| export.max_series_processes);
    let patterns: Vec<String> = collector.selector().patterns().map(str::to_owned).collect();
    let instruments =
        way_out.as_ref().map(|(_, export)| Instruments::new(export.names, &export.resource, patterns.len()));
    let mut reporter = Reporter::new(started, patterns.clone(), max_series_processes);
    let (first, _) = collect(&mut collector, &mut reporter)?;
    tracing::debug!("first collection: {} processes", first.processes.len());
    if let Some(ended) = follow(&mut collector, &mut signals, settings.sample).await? {
        return Ok(ended);
    }
    let (second, report) = collect(&mut collector, &mut reporter)?;
    let document = Document::new(
        &first,
        &second,
        Context {
            host: &Host::this(),
            memory_bytes: memory_bytes(collector.proc()),
            sources: collector.sources(),
            patterns,
            problems: collector.kernel().map(Kernel::problems).unwrap_or_default(),
        },
    );
    print(&json(&document)?)?;
    let mut code = ExitCode::SUCCESS;
    if document.process_count() == 0 {
        notice(&format_args!("No processes found matching {}", collector.selector().in_words()));
        second.missing_values.sentences().iter().for_each(|sentence| notice(sentence));
        code = ExitCode::from(NO_PROCESS);
    }
    if let Some(((client, export), instruments)) = way_out.zip(instruments) {
        let is_exported = tokio::select! {
            biased;
            ended = signals.next() => return Ok(ended),
            is_exported = send(client, export, instruments, report) => is_exported,
        };
        if !is_exported {
            code = ExitCode::from(EXPORT_FAILED);
        }
    }
    Ok(code)
}

/// Exports once. Returns whether the receiver accepted all of it, and prints why not.
async fn send(mut client: Client, export: Export, mut instruments: Instruments, report: Report) -> bool {
    let endpoint = export.receiver.way();
    let payload = match instruments.collect(report) {
        Ok(payload) => payload,
        Err(error) => {
            notice(&format_args!("the metrics can't be collected: {error}"));
            return false;
        }
    };
    let messages = ProcessMessages::new(export.names, export.resource, export.identity);
    match attempt(&mut client, &messages, &payload, export.receiver.timeout).await {
        Ok(rejected) if rejected.points == 0 => {
            if !rejected.message.is_empty() {
                notice(&format_args!(
                    "{endpoint} accepted the export, with the message: {}",
                    rejected.message
                ));
            }
            true
        }
        Ok(rejected) => {
            notice(&format_args!(
                "{endpoint} did not accept {} points: {}",
                rejected.points, rejected.message
            ));
            false
        }
        Err(error) => {
            notice(&format_args!("export to {endpoint} failed: {error}"));
            false
        }
    }
}

fn collect(collector: &mut Collector, reporter: &mut Reporter) -> Result<(Sample, Report)> {
    let began = Instant::now();
    let sample = collector.collect().context(READING)?;
    let collections = Collections { last: began.elapsed(), ..Collections::default() };
    let agent = self_stats::report(collector, collections, Exports::default());
    let report = reporter.report(&sample, self_stats::machine(collector), agent, true);
    Ok((sample, report))
}
