//! What identifies a process.

/// Identifies a process for good: the kernel may reuse its ID, but not with the same start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub pid: u32,
    /// Start in clock ticks after boot.
    pub start_ticks: u64,
}
