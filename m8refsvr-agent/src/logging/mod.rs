//! The agent's own log: on standard error, with the journal's priorities where that is the journal, or appended to a
//! file that is opened again on request.

pub mod escape;
pub mod exits;
pub mod throttle;

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::{linux::fs::MetadataExt as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use clap::ValueEnum;
use thiserror::Error;
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    field::RecordFields,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{DefaultFields, Format, Json, JsonFields, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// Libraries whose `debug` is about single instructions and frames.
const CHATTY: [&str; 8] = ["aya", "aya_obj", "h2", "hyper", "hyper_util", "hyper_rustls", "rustls", "tower"];

/// The log file could not be opened.
#[derive(Debug, Error)]
#[error("cannot write the log to {}: {source}; give another --log-file", path.display())]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// Hears what libraries log.
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// Levels of the log.
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
    /// As `error`, for those who are used to it.
    Critical,
}

/// Forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Where the log goes; it can be opened again.
#[derive(Clone, Debug)]
pub struct Log {
    file: Option<Arc<Target>>,
}

#[derive(Debug)]
struct Target {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Starts logging, what libraries and kernel programs log included; `listener` hears all of it, whatever is logged.
    pub fn start(
        level: LogLevel,
        format: LogFormat,
        path: Option<&Path>,
        listener: Listener,
    ) -> Result<Self, LogError> {
        let file = match path {
            Some(path) => Some(Arc::new(Target { path: path.into(), file: Mutex::new(open(path)?) })),
            None => None,
        };
        let log = Self { file };
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(log.clone())
            // It would say on standard error that it can't write to standard error, and panic over it.
            .log_internal_errors(false)
            .with_ansi(log.file.is_none() && io::stderr().is_terminal());
        let layer = match format {
            LogFormat::Json => {
                let form = InJson(tracing_subscriber::fmt::format().json().flatten_event(true));
                layer.fmt_fields(JsonFields::new()).event_format(form).boxed()
            }
            LogFormat::Text if log.file.is_none() && is_journal() => {
                layer.fmt_fields(InLine).event_format(ForJournal).boxed()
            }
            LogFormat::Text => layer.fmt_fields(InLine).with_target(false).boxed(),
        };
        // Fails only when a log was started before, and then that one stays.
        let _ =
            tracing_subscriber::registry().with(listener).with(layer.with_filter(targets(level))).try_init();
        Ok(log)
    }

    /// Whether it goes to a file.
    pub fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Opens the file again, as one who moved it away wants. The old one stays where that fails.
    pub fn reopen(&self) {
        let Some(target) = &self.file else { return };
        match open(&target.path) {
            Ok(file) => {
                *target.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
                tracing::info!("the log goes on in {}", target.path.display());
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
    // What it says of a failed export the exporter says too, and once; and it would show an endpoint with its secrets.
    let targets = Targets::new().with_default(level).with_target("opentelemetry-otlp", LevelFilter::OFF);
    // It tells of its own life at `info`.
    let targets = targets.with_target("opentelemetry_sdk", level.min(LevelFilter::WARN));
    // Warnings of a limit that it can't raise on a kernel that calls itself old; the agent says what fails for it.
    let of_aya = level.min(LevelFilter::ERROR);
    if level == LevelFilter::TRACE {
        return targets;
    }
    let least = level.min(LevelFilter::INFO);
    let targets = CHATTY.into_iter().fold(targets, |targets, chatty| targets.with_target(chatty, least));
    targets.with_target("aya", of_aya)
}

/// Whether standard error goes to the journal: systemd names its device and inode.
pub fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let metadata = std::fs::metadata("/proc/self/fd/2");
    metadata.is_ok_and(|metadata| named == format!("{}:{}", metadata.st_dev(), metadata.st_ino()))
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Out<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        match &self.file {
            Some(target) => Out::File(&target.file),
            None => Out::Stderr,
        }
    }
}

/// Where one line goes.
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

/// What is logged, on one line: names of processes are in it, which may hold anything.
struct InLine;

impl<'w> FormatFields<'w> for InLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&escape::in_line(&text))
    }
}

/// A JSON object a line.
struct InJson(Format<Json>);

impl<S, N> FormatEvent<S, N> for InJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        writer.write_str(&escape::in_json(&text))
    }
}

/// Lines as the journal takes them: `sd-daemon(3)`, a priority in angle brackets first. It has times of its own.
struct ForJournal;

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
