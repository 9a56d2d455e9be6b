//! Notices on standard error, and results on standard output.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

use anyhow::Context as _;

use crate::logging::escape;

/// A line on standard error.
pub(super) fn notice(what: &dyn Display) {
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "m8refsvr-agent: {}", escape::in_line(&what.to_string()));
}

/// Writes a result to standard output. A reader who closes the pipe has seen enough: no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    Ok(escape::in_json(&text) + "\n")
}
