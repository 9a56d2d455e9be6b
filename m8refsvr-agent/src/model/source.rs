//! The sources of signals that /proc alone can't give.

use m8refsvr_common::signal::{PerSource, Variant};

/// The source of a signal, as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Counted by a BPF program at a raw tracepoint.
    RawTracepoint,
    /// Counted by a BPF program at a classic tracepoint.
    Tracepoint,
    /// Read from /proc.
    Procfs,
    /// Not available.
    None,
}

impl Source {
    /// The name in documents and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::RawTracepoint => "raw_tracepoint",
            Self::Tracepoint => "tracepoint",
            Self::Procfs => "procfs",
            Self::None => "none",
        }
    }

    /// The source that a program variant is; `without` if there is no BPF program.
    pub(crate) fn of(variant: Variant, without: Self) -> Self {
        match variant {
            Variant::RawTracepoint => Self::RawTracepoint,
            Variant::Tracepoint => Self::Tracepoint,
            Variant::None => without,
        }
    }
}

/// The source of each signal. Without BPF programs for the lifecycle, the agent does not see processes that start and
/// exit between two collections.
pub type Sources = PerSource<Source>;

/// The sources without BPF programs.
pub(crate) const WITHOUT_PROGRAMS: Sources =
    Sources { context_switches: Source::Procfs, block_io: Source::None, lifecycle: Source::Procfs };
