//! `--once`: two looks, one document.

use std::process::ExitCode;

use super::{Failure, NO_PROCESS, Signals, json, observer, print, say};
use crate::{
    export::document::{Context, Document},
    kernel::Kernel,
    proc::system::{Host, memory_bytes},
    sample::{Observer, Sample},
    settings::Settings,
};

pub(super) async fn once(settings: Settings) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let mut observer = observer(&settings)?;
    let first = look(&mut observer)?;
    tracing::debug!("first look: {} processes", first.processes.len());
    if let Some(ended) = signals.wait(settings.sample).await {
        return Ok(ended);
    }
    let second = look(&mut observer)?;
    let document = Document::new(
        &first,
        &second,
        Context {
            host: &Host::this(),
            memory_bytes: memory_bytes(observer.proc()),
            sources: observer.sources(),
            patterns: observer.selector().patterns().map(str::to_owned).collect(),
            problems: observer.kernel().map(Kernel::problems).unwrap_or_default(),
        },
    );
    print(&json(&document)?)?;
    if document.process_count() > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let patterns: Vec<String> =
        observer.selector().patterns().map(|pattern| format!("'{pattern}'")).collect();
    say(&format_args!("No processes found matching {}", patterns.join(", ")));
    second.absences.sentences().iter().for_each(|sentence| say(sentence));
    Ok(ExitCode::from(NO_PROCESS))
}

fn look(observer: &mut Observer) -> Result<Sample, Failure> {
    observer.look().map_err(|source| Failure::Io { action: "read /proc", source })
}
