//! What aya's errors mean: want of rights, or a failure.

use std::io;

use aya::{maps::MapError, programs::ProgramError};

use crate::bpf::{error::KernelError, permissions::Rights};

/// How lines of the verifier's log begin that say nothing of the reason.
const VERIFIER_STATISTICS: [&str; 4] =
    ["processed ", "verification time", "stack depth", "max_states_per_insn"];

pub(crate) fn missing_map() -> KernelError {
    KernelError::Object("a map is missing in it".into())
}

pub(crate) fn unfit(error: MapError) -> KernelError {
    KernelError::Object(with_causes(&error))
}

/// A program that the verifier rejected is an error of ours, though the kernel reports it with
/// the same number as want of rights.
pub(crate) fn program_refused(name: &str, error: &ProgramError) -> KernelError {
    let what = format!("the BPF program {name} was refused");
    match error {
        ProgramError::LoadError { verifier_log, io_error } if !verifier_log.to_string().trim().is_empty() => {
            let log = verifier_log.to_string();
            log.lines().for_each(|line| tracing::debug!("{what}; the verifier's log: {line}"));
            // The last lines say what was not accepted; those after it are statistics.
            let reason = log.lines().rfind(|line| {
                let line = line.trim();
                !line.is_empty() && !VERIFIER_STATISTICS.iter().any(|start| line.starts_with(start))
            });
            KernelError::Failed { what, cause: format!("{} ({io_error})", reason.unwrap_or_default().trim()) }
        }
        _ => refused(&what, error, io_kind(error)),
    }
}

/// Tells a refusal for want of rights from other failures.
pub(crate) fn refused(what: &str, error: &dyn std::error::Error, kind: Option<io::ErrorKind>) -> KernelError {
    if kind == Some(io::ErrorKind::PermissionDenied) {
        return KernelError::Refused { advice: Rights::of_this_process().advice() };
    }
    KernelError::Failed { what: what.to_owned(), cause: with_causes(error) }
}

/// The kind of the first error in the chain that came from the system.
pub(crate) fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        current = error.source();
    }
    None
}

/// An error with all its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
