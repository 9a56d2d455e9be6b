//! What the agent can be told to do, a file each, and what they share: how they end and what they say.

mod dump;
mod once;

use std::{
    fmt::Display,
    fs::File,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory as _, FromArgMatches as _, parser::ValueSource};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::{Cli, Command, Debug, Ebpf},
    kernel::{Kernel, KernelError, pins::PinError},
    logging,
    proc::Proc,
    sample::Observer,
    selector::SelectorError,
    settings::Settings,
};

/// No process matches.
const NO_PROCESS: u8 = 1;
/// What a shell reports of a program that a signal ended: 128 and its number.
const BY_SIGNAL: u8 = 128;

/// Why a command failed; each kind has its exit code.
#[derive(Debug, Error)]
pub enum Failure {
    /// Wrong usage.
    #[error("{0}")]
    Usage(String),
    /// Wrong setting.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The kernel's side was required.
    #[error("{0}")]
    Kernel(#[from] KernelError),
    /// Part of the kernel's side was required.
    #[error("{0}")]
    KernelPart(String),
    /// The maps of an agent could not be found.
    #[error("{0}")]
    Pins(#[from] PinError),
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
            Self::Usage(_) | Self::Selector(_) => 2,
            Self::Kernel(_) | Self::KernelPart(_) => 4,
            Self::Pins(_) | Self::Io { .. } => 5,
        }
    }
}

/// Takes the command line, does what it says, and tells how it ended.
pub fn run() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    logging::start(cli.common.log_level);
    let runtime = enough_descriptors()
        .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build());
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(&cli, matches.value_source("process"))),
        Err(source) => Err(Failure::Io { action: "start", source }),
    };
    outcome.unwrap_or_else(|failure| {
        say(&failure);
        ExitCode::from(failure.exit_code())
    })
}

/// tokio takes it for impossible that its signal handler gets no descriptors.
fn enough_descriptors() -> io::Result<()> {
    const NEEDED: usize = 12;
    (0..NEEDED).map(|_| File::open("/dev/null")).collect::<io::Result<Vec<_>>>().map(|_| ())
}

async fn dispatch(cli: &Cli, process: Option<ValueSource>) -> Result<ExitCode, Failure> {
    let settings = Settings::new(&cli.common, process)?;
    match &cli.command {
        Some(_) if cli.once => {
            Err(Failure::Usage("--once and a command exclude each other: give one of them".into()))
        }
        Some(Command::Debug(Debug::Dump { json, agent })) => dump::dump(settings, *json, *agent).await,
        None if cli.once => once::once(settings).await,
        None => Err(Failure::Usage(
            "nothing to do: give --once for one document, or `debug dump` for the maps; --help shows all"
                .into(),
        )),
    }
}

/// An observer of what the settings say, with the kernel's side as they want it.
fn observer(settings: &Settings) -> Result<Observer, Failure> {
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
            .inspect_err(|error| say(&format_args!("going on with /proc alone: {error}")))
            .ok(),
    };
    if let Some(problem) = kernel.as_ref().and_then(Kernel::pin_problem) {
        tracing::debug!("`debug dump` will not find this agent: {problem}");
    }
    Ok(Observer::new(Proc::new("/proc"), settings.selector.clone(), kernel))
}

/// The signals that tell the agent to end. Listening begins before anything is set up that must be cleaned up.
struct Signals {
    interrupted: Signal,
    terminated: Signal,
    hung_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|source| Failure::Io { action: "listen for signals", source });
        Ok(Self {
            interrupted: listen(SignalKind::interrupt())?,
            terminated: listen(SignalKind::terminate())?,
            hung_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits, or less if a signal tells to end; then how.
    async fn wait(&mut self, time: Duration) -> Option<ExitCode> {
        let kind = tokio::select! {
            // One that came while nobody waited comes first.
            biased;
            _ = self.interrupted.recv() => SignalKind::interrupt(),
            _ = self.terminated.recv() => SignalKind::terminate(),
            _ = self.hung_up.recv() => SignalKind::hangup(),
            () = tokio::time::sleep(time) => return None,
        };
        Some(ExitCode::from(BY_SIGNAL + u8::try_from(kind.as_raw_value()).unwrap_or_default()))
    }
}

/// Says something to the user, on standard error.
fn say(what: &dyn Display) {
    // Where nobody listens, there is nobody to tell.
    let _ = writeln!(io::stderr(), "m8refsvr-agent: {what}");
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
    Ok(text + "\n")
}
