//! From an error to the exit code, by the typed error underneath, and to what the user reads.

use std::{error::Error, io::Write as _, process::ExitCode};

use thiserror::Error;

use super::output::notice;
use crate::{
    bpf::KernelError,
    config::{ExportSettingsError, SettingsError},
    export::otlp::TlsError,
    logging::{self, LogError},
};

/// No process matches.
pub(super) const NO_PROCESS: u8 = 1;
/// Wrong usage or setting.
pub(super) const WRONG: u8 = 2;
/// The receiver did not accept the export, or not all of it.
pub(super) const EXPORT_FAILED: u8 = 3;
/// Counting in the kernel was required and could not start.
pub(super) const KERNEL_FAILED: u8 = 4;
/// Anything that has no code of its own.
pub(super) const BROKEN: u8 = 5;

/// Flags that exclude each other, or that can't be followed on this machine.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct WrongUsage(pub(super) String);

/// A part of what counts in the kernel was required and could not start.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct KernelPart(pub(super) String);

/// The code of an error: that of the first of its causes that has one.
pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(BROKEN)
}

/// In words: the contexts that were added on the way, and the typed error, whose message has what matters of its
/// causes.
pub(super) fn in_words(error: &anyhow::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Some messages have that of their cause in them.
        if words.last().is_none_or(|last| !last.contains(&text)) {
            words.push(text);
        }
        if code_of(cause).is_some() {
            break;
        }
    }
    words.join(": ")
}

fn code_of(cause: &(dyn Error + 'static)) -> Option<u8> {
    let is_wrong = cause.is::<WrongUsage>()
        || cause.is::<SettingsError>()
        || cause.is::<ExportSettingsError>()
        || cause.is::<TlsError>()
        || cause.is::<LogError>();
    if is_wrong {
        return Some(WRONG);
    }
    (cause.is::<KernelError>() || cause.is::<KernelPart>()).then_some(KERNEL_FAILED)
}

/// Prints why it failed; returns the exit code.
pub fn failed(error: &anyhow::Error) -> ExitCode {
    notice(&in_words(error));
    ExitCode::from(exit_code(error))
}

/// Prints what is wrong about the command line or a variable; in the journal that is an error. Help ends here too.
pub fn wrong_usage(error: &clap::Error) -> ExitCode {
    // Standard error may be closed.
    if error.use_stderr() && logging::is_journal() {
        let message = error.render().to_string();
        let lines: String = message.lines().map(|line| format!("<3>{line}\n")).collect();
        let _ = std::io::stderr().write_all(lines.as_bytes());
    } else {
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG))
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::*;

    fn refused() -> io::Error {
        io::Error::from(io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn the_typed_error_underneath_chooses_the_exit_code() {
        let tls = || TlsError::Unreadable { what: "client key", path: "/key".into(), source: refused() };
        let wrong: anyhow::Error = tls().into();
        assert_eq!(exit_code(&wrong), WRONG);
        assert_eq!(exit_code(&wrong.context("CLIENT_KEY_PATH").context("at start")), WRONG);
        assert_eq!(exit_code(&WrongUsage("a".into()).into()), WRONG);
        assert_eq!(exit_code(&anyhow::Error::from(KernelError::PidNamespace).context("a")), KERNEL_FAILED);
        assert_eq!(exit_code(&KernelPart("a".into()).into()), KERNEL_FAILED);
        assert_eq!(exit_code(&anyhow::Error::from(refused()).context("cannot read /proc")), BROKEN);
        assert_eq!(exit_code(&anyhow::anyhow!("a")), BROKEN);
    }

    #[test]
    fn what_was_added_stands_before_the_cause_and_nothing_is_said_twice() {
        let error = Err::<(), _>(refused()).context("cannot read /proc").unwrap_err();
        assert_eq!(in_words(&error), "cannot read /proc: permission denied");
        let source = refused();
        let error = TlsError::Unreadable { what: "client key", path: "/key".into(), source };
        let error = Err::<(), _>(error).context("CLIENT_KEY_PATH").unwrap_err();
        assert_eq!(in_words(&error), "CLIENT_KEY_PATH: cannot read the client key /key: permission denied");
    }
}
