//! What the agent can be told to do, a file each.

mod check;
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
    cli::{Cli, Command, Debug, Given},
    config::{Settings, export::Export},
    export::otlp::grpc_events,
    logging::Log,
    proc::system::Host,
};
use failure::{WrongUsage, exit_code, in_words};

/// Does what the command line says, and tells how it ended.
pub fn run(cli: &Cli, given: &Given, started: SystemTime) -> Result<ExitCode> {
    let common = &cli.common;
    // `check` runs with the service's flags as another user, whose new file would be closed to the service.
    let is_check = matches!(cli.command, Some(Command::Check { .. }));
    let log_file = common.log_file.as_deref().filter(|_| !is_check);
    let log = Log::start(common.log_level, common.log_format, log_file, grpc_events::layer().boxed())?;
    let runtime = setup::runtime()?;
    let outcome = runtime.block_on(dispatch(cli, given, started, log.clone()));
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

async fn dispatch(cli: &Cli, given: &Given, started: SystemTime, log: Log) -> Result<ExitCode> {
    let variable = |name: &str| std::env::var_os(name);
    let settings = Settings::new(cli, given, variable)?;
    let export = || Export::new(&cli.export, given, &Host::this(), variable);
    match &cli.command {
        Some(_) if cli.once => {
            Err(WrongUsage("--once and a command exclude each other: give one of them".into()).into())
        }
        Some(Command::Check { json }) => check::check(settings, export(), *json).await,
        Some(Command::Debug(Debug::Dump { json, agent })) => dump::dump(settings, *json, *agent).await,
        None if cli.no_export => once::once(settings, None, started).await,
        None if cli.once => once::once(settings, Some(export()?), started).await,
        None => run::monitor(settings, export()?, started, log).await,
    }
}
