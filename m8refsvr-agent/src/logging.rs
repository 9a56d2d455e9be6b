//! The agent's own log, on standard error.

use tracing::level_filters::LevelFilter;

use crate::cli::LogLevel;

/// Starts logging, what libraries and kernel programs log included.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Critical => LevelFilter::ERROR,
    };
    let logger = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // It would say on standard error that it can't write to standard error, and panic over it.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // Fails only when a log was started before, and then that one stays.
    let _ = logger.try_init();
}
