//! How a process ended, by the numbers of the kernel.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use m8refsvr_common::record::OOM_VICTIM;

use crate::model::{counters::Totals, sample::Identity};

/// A process that is over: it ended, or matches no more.
#[derive(Clone, Debug)]
pub struct ProcessEnd {
    /// Which.
    pub identity: Identity,
    /// Its name, as to be shown.
    pub name: Arc<str>,
    /// File name of its executable; `None` without the right to know it.
    pub executable: Option<Arc<str>>,
    /// The pattern that selected it, by its place.
    pub group: usize,
    /// How.
    pub how: EndKind,
    /// When it started.
    pub started: SystemTime,
    /// When it was over, or was seen to be.
    pub at: SystemTime,
    /// How long it ran.
    pub lasted: Duration,
    /// The most memory that it had at once, bytes.
    pub peak_bytes: Option<u64>,
    /// What it had when it began to match, or nothing if it started since the collection before that; `None` where that is not
    /// known.
    pub first: Option<Totals>,
    /// What it had in the end; absent where it is not known.
    pub last: Totals,
}

/// How a process is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// It ended.
    Exited(Exit),
    /// It goes on, but matches no more.
    Deselected,
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// By itself, with this code; 0 is normal.
    Code(u8),
    /// By this signal.
    Signal {
        /// Its number.
        number: u8,
        /// Whether its memory was written to a file.
        core_dumped: bool,
    },
    /// By the OOM killer.
    Oom,
    /// It is gone, and nothing tells why.
    Unknown,
}

impl Exit {
    /// From a status as `wait` has it, and [`OOM_VICTIM`].
    pub fn of_status(status: u64) -> Self {
        /// The bit beside the signal.
        const CORE_DUMPED: u64 = 0x80;
        let low = |word: u64| (word & 0xff) as u8;
        match low(status & 0x7f) {
            0 => Self::Code(low(status >> 8)),
            9 if status & OOM_VICTIM != 0 => Self::Oom,
            number => Self::Signal { number, core_dumped: status & CORE_DUMPED != 0 },
        }
    }

    /// Its reason, as it is exported.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Code(0) => "normal",
            Self::Code(_) => "error",
            Self::Signal { .. } => "signal",
            Self::Oom => "oom",
            Self::Unknown => "unknown",
        }
    }

    /// Its code, where it is not 0.
    pub fn code(self) -> Option<u8> {
        match self {
            Self::Code(code) if code != 0 => Some(code),
            _ => None,
        }
    }

    /// Its code, where it ended by itself.
    pub fn status_code(self) -> Option<u8> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that ended it.
    pub fn signal(self) -> Option<u8> {
        match self {
            Self::Signal { number, .. } => Some(number),
            Self::Oom => Some(9),
            _ => None,
        }
    }

    /// Whether it ended by an error, a signal or the OOM killer: the log and exit events have such an exit as a warning or
    /// worse.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Code(0) | Self::Unknown)
    }

    /// Whether its memory was written to a file.
    pub fn core_dumped(self) -> bool {
        matches!(self, Self::Signal { core_dumped: true, .. })
    }
}

/// Name of a signal, such as SIGKILL.
pub fn signal_name(number: u8) -> String {
    /// The first of the real-time signals that the C library leaves to programs.
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
        // Chosen by the OOM killer, but faster.
        assert_eq!(Exit::of_status(1 << 8 | OOM_VICTIM), Exit::Code(1));
    }
}
