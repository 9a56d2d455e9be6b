//! Where figures come from that /proc alone can't give.

use m8refsvr_common::record::Variant;

/// Where a figure comes from, as users are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Counted in the kernel at a raw tracepoint.
    RawTracepoint,
    /// Counted in the kernel at a classic tracepoint.
    Tracepoint,
    /// Read from /proc.
    Procfs,
    /// Not to be had.
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

    /// The source that a form of hook is, or else the one to be had `without` it.
    pub(crate) fn of(form: Variant, without: Self) -> Self {
        match form {
            Variant::RawTracepoint => Self::RawTracepoint,
            Variant::Tracepoint => Self::Tracepoint,
            Variant::None => without,
        }
    }
}

/// Where the figures that /proc alone can't give come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Context switches.
    pub context_switches: Source,
    /// Block I/O.
    pub block_io: Source,
    /// Beginning and end of processes; by /proc alone, what begins and ends between two collections is not seen.
    pub lifecycle: Source,
}
