//! Where figures come from that /proc alone can't give.

use m8refsvr_common::signal::{PerSource, Variant};

/// Where a figure comes from, as users are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Counted in the kernel at a raw tracepoint.
    RawTracepoint,
    /// Counted in the kernel at a classic tracepoint.
    Tracepoint,
    /// Read from /proc.
    Procfs,
    /// Not available.
    None,
}

impl Source {
    /// Its name in documents and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::RawTracepoint => "raw_tracepoint",
            Self::Tracepoint => "tracepoint",
            Self::Procfs => "procfs",
            Self::None => "none",
        }
    }

    /// The source that a variant of hook is, or else that `without` it.
    pub(crate) fn of(variant: Variant, without: Self) -> Self {
        match variant {
            Variant::RawTracepoint => Self::RawTracepoint,
            Variant::Tracepoint => Self::Tracepoint,
            Variant::None => without,
        }
    }
}

/// Where the values of each signal come from. Without the programs' lifecycle, processes that start and exit between two
/// collections are not seen.
pub type Sources = PerSource<Source>;

/// The sources without BPF programs.
pub(crate) const WITHOUT_PROGRAMS: Sources =
    Sources { context_switches: Source::Procfs, block_io: Source::None, lifecycle: Source::Procfs };
