//! The agent's log: on standard error, with priorities where that is the journal, or appended to a file that can be
//! reopened. Levels and filters are here, lines are made in `format`.

pub mod escape;
pub mod exits;
mod format;
pub mod throttle;
pub mod units;

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::{linux::fs::MetadataExt as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use clap::ValueEnum;
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{MakeWriter, format::JsonFields},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use format::{Line, TextFields};

/// Libraries that log single instructions and frames at `debug`.
const CHATTY: [&str; 8] = ["aya", "aya_obj", "h2", "hyper", "hyper_util", "hyper_rustls", "rustls", "tower"];

/// The log file could not be opened.
#[derive(Debug, Error)]
#[error("cannot write the log to {}: {source}; give another --log-file", path.display())]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// A layer that gets events of libraries.
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// What `--log-level` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What a developer wants to know.
    Debug,
    /// What an administrator wants to know.
    Info,
    /// What an administrator should look at.
    #[value(name = "warning", alias = "warn")]
    Warning,
    /// What an administrator must look at.
    Error,
    /// The same as `error`; the earlier Python plugin has this level.
    Critical,
}

/// What `--log-format` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The output of the log. A file can be reopened.
#[derive(Clone, Debug)]
pub struct Log {
    file: Option<Arc<LogFile>>,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Starts the log, with the events of libraries and BPF programs. `listener` gets all events, at any level.
    pub fn start(
        level: LogLevel,
        format: LogFormat,
        path: Option<&Path>,
        listener: Listener,
    ) -> Result<Self, LogError> {
        let file = match path {
            Some(path) => Some(Arc::new(LogFile { path: path.into(), file: Mutex::new(open(path)?) })),
            None => None,
        };
        let log = Self { file };
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(log.clone())
            // It would write to standard error that it can't write to standard error, and panic.
            .log_internal_errors(false)
            .with_ansi(log.file.is_none() && io::stderr().is_terminal());
        let layer = match format {
            LogFormat::Json => {
                let json = Line::Json(tracing_subscriber::fmt::format().json().flatten_event(true));
                layer.fmt_fields(JsonFields::new()).event_format(json).boxed()
            }
            LogFormat::Text if log.file.is_none() && is_journal() => {
                layer.fmt_fields(TextFields).event_format(Line::Journal).boxed()
            }
            LogFormat::Text => layer.fmt_fields(TextFields).with_target(false).boxed(),
        };
        // Fails only where a log was started before, and then that one stays.
        let _ =
            tracing_subscriber::registry().with(listener).with(layer.with_filter(targets(level))).try_init();
        Ok(log)
    }

    /// Whether the output is a file.
    pub fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Reopens the file, after it was rotated. Where that fails, the old one stays in use.
    pub fn reopen(&self) {
        let Some(log) = &self.file else { return };
        match open(&log.path) {
            Ok(file) => {
                *log.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
                tracing::info!("the log goes on in {}", log.path.display());
            }
            Err(error) => tracing::error!("{error}"),
        }
    }
}

fn open(path: &Path) -> Result<File, LogError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
        .map_err(|source| LogError { path: path.into(), source })
}

fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Critical => LevelFilter::ERROR,
    };
    // The exporter reports a failed export itself. This crate would also log the endpoint with its secrets.
    let targets = Targets::new().with_default(level).with_target("opentelemetry-otlp", LevelFilter::OFF);
    // It logs its own start and end at `info`.
    let targets = targets.with_target("opentelemetry_sdk", level.min(LevelFilter::WARN));
    // It warns of a limit that it can't raise, by the version of the kernel. The agent reports what fails because of
    // it.
    let of_aya = level.min(LevelFilter::ERROR);
    if level == LevelFilter::TRACE {
        return targets;
    }
    let least = level.min(LevelFilter::INFO);
    let targets = CHATTY.into_iter().fold(targets, |targets, chatty| targets.with_target(chatty, least));
    targets.with_target("aya", of_aya)
}

/// Whether standard error is the journal: systemd passes its device and inode.
pub fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let metadata = std::fs::metadata("/proc/self/fd/2");
    metadata.is_ok_and(|metadata| named == format!("{}:{}", metadata.st_dev(), metadata.st_ino()))
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Out<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        match &self.file {
            Some(log) => Out::File(&log.file),
            None => Out::Stderr,
        }
    }
}

/// The output of one line.
#[derive(Debug)]
pub enum Out<'a> {
    /// To the file.
    File(&'a Mutex<File>),
    /// To standard error.
    Stderr,
}

impl Write for Out<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(line),
            Self::Stderr => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
