//! Messages to the developer, on standard error.

use std::io::Write as _;

/// Prints what is being done.
pub(crate) fn step(what: &str) {
    line(&format!("==> {what}"));
}

/// Prints a line.
pub(crate) fn line(text: &str) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}
