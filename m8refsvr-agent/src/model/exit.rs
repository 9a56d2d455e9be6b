//! How a process ended, from the kernel's exit status.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use m8refsvr_common::record::OOM_VICTIM;

use crate::model::{counters::Totals, identity::Identity};

/// A process that exited or was deselected.
#[derive(Clone, Debug)]
pub struct ProcessEnd {
    pub identity: Identity,
    /// Its name, as it is shown.
    pub name: Arc<str>,
    /// File name of its executable; `None` without the right to read it.
    pub executable: Option<Arc<str>>,
    /// Index of the group that selected it.
    pub group: usize,
    pub how: EndKind,
    /// Whether its parent was a tracked process of the same group when it was forked.
    pub has_parent: bool,
    pub started: SystemTime,
    /// When it exited or was deselected, or when that was noticed.
    pub at: SystemTime,
    /// How long it ran.
    pub lasted: Duration,
    /// Peak resident memory, bytes.
    pub peak_bytes: Option<u64>,
    /// Its counters when it began to match: zeros if it started after the collection before that. `None` if they are
    /// not known.
    pub first: Option<Totals>,
    /// Its last counters; absent where they are not known.
    pub last: Totals,
}

/// How a process stopped being tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    Exited(Exit),
    /// It still runs, but no longer matches.
    Deselected,
}

/// How a process exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// It exited with this code; 0 is normal.
    Code(u8),
    /// A signal killed it.
    Signal { number: u8, core_dumped: bool },
    /// The OOM killer killed it.
    Oom,
    /// It is gone, and its exit status is not known.
    Unknown,
}

impl Exit {
    /// All that [`Self::reason`] returns.
    pub const REASONS: [&str; 5] = ["normal", "error", "signal", "oom", "unknown"];

    /// From an exit status in the format of `wait`, with [`OOM_VICTIM`].
    pub fn of_status(status: u64) -> Self {
        /// The bit above the signal number.
        const CORE_DUMPED: u64 = 0x80;
        let low = |word: u64| (word & 0xff) as u8;
        match low(status & 0x7f) {
            0 => Self::Code(low(status >> 8)),
            9 if status & OOM_VICTIM != 0 => Self::Oom,
            number => Self::Signal { number, core_dumped: status & CORE_DUMPED != 0 },
        }
    }

    /// The value of `m8refsvr.exit.reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Code(0) => "normal",
            Self::Code(_) => "error",
            Self::Signal { .. } => "signal",
            Self::Oom => "oom",
            Self::Unknown => "unknown",
        }
    }

    /// Its exit code if that is not 0.
    pub fn code(self) -> Option<u8> {
        match self {
            Self::Code(code) if code != 0 => Some(code),
            _ => None,
        }
    }

    /// Its exit code, 0 included; `None` if it was killed.
    pub fn status_code(self) -> Option<u8> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that killed it.
    pub fn signal(self) -> Option<u8> {
        match self {
            Self::Signal { number, .. } => Some(number),
            Self::Oom => Some(9),
            _ => None,
        }
    }

    /// Whether it exited with an error or was killed by a signal or the OOM killer. The log and exit events report such
    /// an exit as a warning or worse.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Code(0) | Self::Unknown)
    }

    pub fn core_dumped(self) -> bool {
        matches!(self, Self::Signal { core_dumped: true, .. })
    }
}

/// Name of a signal, such as SIGKILL.
pub fn signal_name(number: u8) -> String {
    /// The first real-time signal that the C library leaves to applications.
    const RTMIN: u8 = 34;
    match signal_hook::low_level::signal_name(number.into()) {
        Some(name) => name.into(),
        None if number >= RTMIN => format!("SIGRTMIN+{}", number - RTMIN),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_apart_as_wait_does() {
        assert_eq!(Exit::of_status(0), Exit::Code(0));
        assert_eq!(Exit::of_status(3 << 8), Exit::Code(3));
        assert_eq!(Exit::of_status(9), Exit::Signal { number: 9, core_dumped: false });
        assert_eq!(Exit::of_status(0x8b), Exit::Signal { number: 11, core_dumped: true });
        assert_eq!(Exit::of_status(9 | OOM_VICTIM), Exit::Oom);
        // The OOM killer chose it, but it exited first.
        assert_eq!(Exit::of_status(1 << 8 | OOM_VICTIM), Exit::Code(1));
    }
}
