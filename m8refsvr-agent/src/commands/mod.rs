//! What a user can start, a file each.

mod check;
mod check_text;
mod dump;
mod failure;
mod once;
mod output;
mod run;
mod setup;
mod signals;

use std::{process::ExitCode, time::SystemTime};

use anyhow::Result;
pub use failure::{failed, wrong_usage};
use tracing_subscriber::Layer as _;

use crate::{
    cli::{Command, Debug, Parsed, variable},
    config::{Settings, export::Export},
    export::otlp::grpc_events,
    logging::Log,
    proc::system::Host,
};
use failure::{exit_code, in_words};

/// Does what the command line says; returns how it ended.
pub fn run(parsed: &Parsed, started: SystemTime) -> Result<ExitCode> {
    let cli = &parsed.cli;
    let flags = &cli.log;
    // `check` runs with the service's flags as another user, whose new file would be closed to the service.
    let is_check = matches!(cli.command, Some(Command::Check(_)));
    let log_file = flags.log_file.as_deref().filter(|_| !is_check);
    let log = Log::start(flags.log_level, flags.log_format, log_file, grpc_events::layer().boxed())?;
    for warning in parsed.warnings.iter().filter(|_| !is_check) {
        tracing::warn!("{warning}");
    }
    let runtime = setup::runtime()?;
    let outcome = runtime.block_on(dispatch(parsed, started, log.clone()));
    // The resolution of a name may hang in a thread of its own.
    runtime.shutdown_background();
    // A service is followed by its log alone.
    if let Err(error) = &outcome
        && cli.command.is_none()
        && !cli.once
    {
        tracing::error!("{}", in_words(error));
        if !log.is_file() {
            return Ok(ExitCode::from(exit_code(error)));
        }
    }
    outcome
}

async fn dispatch(parsed: &Parsed, started: SystemTime, log: Log) -> Result<ExitCode> {
    let Parsed { cli, origins, .. } = parsed;
    let settings = || Settings::new(cli, origins, variable);
    let export = |settings: &Settings| {
        Export::new(&cli.export, origins, &Host::this(), &settings.selection(), variable)
    };
    match &cli.command {
        Some(Command::Check(flags)) => check::check(parsed, flags).await,
        Some(Command::Debug(Debug::Dump(flags))) => dump::dump(settings()?, flags.json, flags.agent).await,
        None if cli.no_export => once::once(settings()?, None, started).await,
        None if cli.once => {
            let settings = settings()?;
            let export = export(&settings)?;
            once::once(settings, Some(export), started).await
        }
        None => {
            let settings = settings()?;
            let export = export(&settings)?;
            run::monitor(settings, export, started, log).await
        }
    }
}
