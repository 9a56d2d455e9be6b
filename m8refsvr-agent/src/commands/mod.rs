//! What the agent can be told to do, a file each, and what they share: how they end and what they say.

mod check;
mod dump;
mod monitor;
mod once;
mod signals;

use std::{
    fmt::Display,
    fs::File,
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use thiserror::Error;

use crate::{
    cli::{self, Cli, Command, Debug, Ebpf, Given},
    export::otlp::TlsError,
    kernel::{Kernel, KernelError, pins::PinError, resident},
    logging::{self, Log, LogError},
    observer::Observer,
    privileges,
    proc::{Proc, is_proc, system::Host},
    settings::{
        Settings, SettingsError,
        export::{Export, ExportSettingsError},
    },
    shown,
    told::Told,
};
use signals::Handed;

/// No process matches.
const NO_PROCESS: u8 = 1;
/// Wrong usage or setting.
const WRONG: u8 = 2;
/// Nothing arrived, or not all of it.
const EXPORT_FAILED: u8 = 3;
/// The kernel's side was required.
const KERNEL_FAILED: u8 = 4;
/// Anything that has no code of its own.
const BROKEN: u8 = 5;

/// Why a command failed; each kind has its exit code.
#[derive(Debug, Error)]
pub enum Failure {
    /// Wrong usage.
    #[error("{0}")]
    Usage(String),
    /// Wrong setting.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Wrong setting of where to export to.
    #[error(transparent)]
    Export(#[from] ExportSettingsError),
    /// Wrong file for TLS.
    #[error("{}{source}", setting.as_ref().map_or_else(String::new, |setting| format!("{setting}: ")))]
    Tls {
        /// What named the file.
        setting: Option<String>,
        /// What is wrong with it.
        source: TlsError,
    },
    /// Wrong file for the log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The kernel's side was required.
    #[error("{0}")]
    Kernel(#[from] KernelError),
    /// Part of the kernel's side was required.
    #[error("{0}")]
    KernelPart(String),
    /// The maps of an agent could not be found.
    #[error("{0}")]
    Pins(#[from] PinError),
    /// The task that exports ended by itself.
    #[error("exporting broke off: {0}")]
    Delivery(String),
    /// A file or stream.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Settings(_) | Self::Export(_) | Self::Tls { .. } | Self::Log(_) => WRONG,
            Self::Kernel(_) | Self::KernelPart(_) => KERNEL_FAILED,
            Self::Pins(_) | Self::Delivery(_) | Self::Io { .. } => BROKEN,
        }
    }
}

/// Takes the command line, does what it says, and tells how it ended.
pub fn run() -> ExitCode {
    let started = SystemTime::now();
    resident::begin();
    let (cli, given) = cli::parse().unwrap_or_else(|error| wrong_usage(&error));
    let common = &cli.common;
    // `check` runs with the service's flags as another user, whose new file would be closed to the service.
    let is_check = matches!(cli.command, Some(Command::Check { .. }));
    let log_file = common.log_file.as_deref().filter(|_| !is_check);
    let outcome =
        Log::start(common.log_level, common.log_format, log_file).map_err(Failure::from).and_then(|log| {
            let runtime = enough_descriptors().and_then(|()| {
                // Looks are in this thread; what waits for the network is in the other.
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    // For the resolution of names, of which each attempt may leave one behind that hangs.
                    .max_blocking_threads(4)
                    .on_thread_start(privileges::for_files)
                    .enable_all()
                    .build()
            });
            let runtime = runtime.map_err(|source| Failure::Io { action: "start", source })?;
            let outcome = runtime.block_on(dispatch(&cli, &given, started, log.clone()));
            // The resolution of a name may hang in a thread of its own.
            runtime.shutdown_background();
            // A service is followed by its log alone.
            if let Err(failure) = &outcome
                && cli.command.is_none()
                && !cli.once
            {
                tracing::error!("{failure}");
                if !log.is_file() {
                    return Ok(ExitCode::from(failure.exit_code()));
                }
            }
            outcome
        });
    outcome.unwrap_or_else(|failure| {
        say(&failure);
        ExitCode::from(failure.exit_code())
    })
}

/// Ends with what is wrong about the command line or a variable, which in the journal is an error. Help ends here too.
fn wrong_usage(error: &clap::Error) -> ! {
    if error.use_stderr() && logging::is_journal() {
        let message = error.render().to_string();
        let lines: String = message.lines().map(|line| format!("<3>{line}\n")).collect();
        // Where nobody listens, there is nobody to tell.
        let _ = io::stderr().write_all(lines.as_bytes());
        std::process::exit(error.exit_code());
    }
    error.exit()
}

/// tokio takes it for impossible that its signal handler gets no descriptors.
fn enough_descriptors() -> io::Result<()> {
    const NEEDED: usize = 12;
    (0..NEEDED).map(|_| File::open("/dev/null")).collect::<io::Result<Vec<_>>>().map(|_| ())
}

async fn dispatch(cli: &Cli, given: &Given, started: SystemTime, log: Log) -> Result<ExitCode, Failure> {
    let variable = |name: &str| std::env::var_os(name);
    let settings = Settings::new(cli, given, variable)?;
    let export = || Export::new(&cli.export, given, &Host::this(), variable);
    match &cli.command {
        Some(_) if cli.once => {
            Err(Failure::Usage("--once and a command exclude each other: give one of them".into()))
        }
        Some(Command::Check { json }) => check::check(settings, export(), *json).await,
        Some(Command::Debug(Debug::Dump { json, agent })) => dump::dump(settings, *json, *agent).await,
        None if cli.no_export => once::once(settings, None, started).await,
        None if cli.once => once::once(settings, Some(export()?), started).await,
        None => monitor::monitor(settings, export()?, started, log).await,
    }
}

/// An observer of what the settings say, with the kernel's side as they want it.
fn observer(settings: &Settings, tell: &dyn Fn(&dyn Display)) -> Result<Observer, Failure> {
    let proc = proc_of(settings)?;
    let kernel = match settings.ebpf {
        Ebpf::Off => None,
        Ebpf::Require => {
            let kernel = Kernel::attach(&settings.kernel)?;
            if let Some(problem) = kernel.problems().first() {
                return Err(Failure::KernelPart(problem.clone()));
            }
            Some(kernel)
        }
        Ebpf::Auto => Kernel::attach(&settings.kernel)
            .inspect_err(|error| tell(&format_args!("going on with /proc alone: {error}")))
            .ok(),
    };
    if let Some(problem) = kernel.as_ref().and_then(Kernel::pin_problem) {
        tracing::debug!("`debug dump` will not find this agent: {problem}");
    }
    Ok(Observer::new(proc, settings.selector.clone(), kernel))
}

/// The /proc that the settings name.
fn proc_of(settings: &Settings) -> Result<Proc, Failure> {
    let root = &settings.proc_root;
    if !is_proc(root) {
        let (root, name) = (root.display(), settings.given.name("proc_root"));
        let advice = format!("mount the host's there, or leave out {name}");
        return Err(Failure::Usage(format!("{name}: {root} is not a /proc: {advice}")));
    }
    Ok(Proc::new(root))
}

/// Takes in what the programs tell for a while, or until a signal ends it; then how.
async fn follow(
    observer: &mut Observer,
    signals: &mut Handed,
    time: Duration,
) -> Result<Option<ExitCode>, Failure> {
    let end = tokio::time::Instant::now() + time;
    let told = Told::new(observer).map_err(|source| Failure::Io { action: "wait", source })?;
    loop {
        tokio::select! {
            biased;
            ended = signals.next() => return Ok(Some(ended)),
            () = tokio::time::sleep_until(end) => return Ok(None),
            () = told.wait() => {}
        }
        observer.follow().map_err(|source| Failure::Io { action: "read /proc", source })?;
    }
}

/// Says something to the user, on a line of standard error.
fn say(what: &dyn Display) {
    // Where nobody listens, there is nobody to tell.
    let _ = writeln!(io::stderr(), "m8refsvr-agent: {}", shown::in_line(&what.to_string()));
}

/// Writes a result to standard output. One who closes the other end has seen enough: no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Io { action: "write to standard output", source: error })
        }
        _ => Ok(()),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Io { action: "write JSON", source: error.into() })?;
    Ok(shown::in_json(&text) + "\n")
}
