//! The records in the BPF maps. Each is made of whole 64-bit words without padding, so that both sides and a
//! dump by another process see the same bytes; each field is read and written as a whole.

use core::mem::{align_of, offset_of, size_of};

#[cfg(doc)]
use crate::signal::Variant;
use crate::{
    accounting::{Accounting, IoAccounting},
    signal::PerSource,
    slot::Tgid,
};

/// The layout of all records here. A dump refuses the maps of an agent with another layout. The table of the kernel's
/// accounting makes records longer, so the number has the length of the longest in its lower half.
pub const LAYOUT: u64 = 4 << 16 | size_of::<ExitRecord>() as u64;

/// What the kernel counts for a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Context switches in which a thread of the process began to wait.
    pub voluntary: u64,
    /// Context switches in which a thread of the process was preempted or yielded.
    pub involuntary: u64,
    /// Bytes read from block devices.
    pub read_bytes: u64,
    /// Bytes written to block devices.
    pub write_bytes: u64,
    /// Read requests made to block devices; what the kernel merged into one request counts once.
    pub read_operations: u64,
    /// Write requests made to block devices; what the kernel merged into one request counts once.
    pub write_operations: u64,
}

impl Counts {
    /// The sum, field by field; wraps like the counters themselves.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            voluntary: self.voluntary.wrapping_add(other.voluntary),
            involuntary: self.involuntary.wrapping_add(other.involuntary),
            read_bytes: self.read_bytes.wrapping_add(other.read_bytes),
            write_bytes: self.write_bytes.wrapping_add(other.write_bytes),
            read_operations: self.read_operations.wrapping_add(other.read_operations),
            write_operations: self.write_operations.wrapping_add(other.write_operations),
        }
    }

    /// The difference, field by field; wraps, so that adding `other` gives `self` again.
    #[must_use]
    pub const fn minus(&self, other: &Self) -> Self {
        Self {
            voluntary: self.voluntary.wrapping_sub(other.voluntary),
            involuntary: self.involuntary.wrapping_sub(other.involuntary),
            read_bytes: self.read_bytes.wrapping_sub(other.read_bytes),
            write_bytes: self.write_bytes.wrapping_sub(other.write_bytes),
            read_operations: self.read_operations.wrapping_sub(other.read_operations),
            write_operations: self.write_operations.wrapping_sub(other.write_operations),
        }
    }
}

/// What was counted for one slot on one CPU: `COUNTERS`. One cache line, so that no two CPUs write to the same.
///
/// Counts up from the load of the BPF programs and is never reset: see [`ProcessRecord::baseline`].
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountsRecord {
    /// The counts.
    pub counts: Counts,
    /// Fills the cache line.
    pub reserved: [u64; 2],
}

/// The tracked process of a slot: `PROCESSES`, by the slot's index. Written by whoever gives the slot to the process:
/// the programs, or the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessRecord {
    /// The process id in the initial PID namespace; 0 when the slot is free.
    pub tgid: u64,
    /// Start of the process in clock ticks after boot, as in `/proc/PID/stat`.
    pub start_ticks: u64,
    /// The number of a [`ProcessState`].
    pub state: u64,
    /// The id of the process that forked it, where it was tracked as the child of a tracked process; else 0.
    pub parent: u64,
    /// Name of the process when it got the slot, as its bytes lie in memory.
    pub comm: [u64; 2],
    /// What to add (wrapping) to the slot's counters to get the totals of this process. That is what the process had
    /// before it got the slot, less what was in the counters then, which earlier processes of the slot had left there.
    pub baseline: Counts,
}

impl ProcessRecord {
    /// `None` when the slot is free.
    pub fn tgid(&self) -> Option<Tgid> {
        Self::tgid_of(self.tgid)
    }

    /// `None` where it was not tracked as a child.
    pub fn parent(&self) -> Option<Tgid> {
        Self::tgid_of(self.parent)
    }

    fn tgid_of(number: u64) -> Option<Tgid> {
        u32::try_from(number).ok().filter(|&tgid| tgid != 0).map(Tgid)
    }
}

/// What became of the tracked process of a slot.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// The slot is free.
    Free = 0,
    /// The process is alive, and its counters count.
    Living = 1,
    /// Its last thread has exited.
    Exited = 2,
    /// It executes another program now, and no longer matches by its `comm`.
    Deselected = 3,
}

impl ProcessState {
    /// From its number in [`ProcessRecord`]; `None` for a number that no state has.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Free),
            1 => Some(Self::Living),
            2 => Some(Self::Exited),
            3 => Some(Self::Deselected),
            _ => None,
        }
    }
}

/// What the kernel knew of a tracked process when it got its slot, and when it exited or was deselected: `EXITS`, by
/// the slot's index. Written by the BPF programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitRecord {
    /// Start of the process, nanoseconds after boot; 0 where its thread group leader was reaped.
    pub start: u64,
    /// When its last thread began to exit, or when it was deselected, nanoseconds after boot.
    pub end: u64,
    /// The most pages that it had in memory at once; 0 when it was deselected.
    pub peak_pages: u64,
    /// Its exit status, as `wait` returns it, and [`OOM_VICTIM`].
    pub status: u64,
    /// The most pages that it had in memory at once before it got the slot, when it was another program.
    pub peak_pages_at_start: u64,
    /// Its accounting when it got the slot.
    pub accounting_at_start: Accounting,
    /// Its accounting when it exited or was deselected.
    pub accounting_at_end: Accounting,
    /// What its own threads had that have exited: without what the kernel adds when a process waits for its children.
    pub own_io: IoAccounting,
}

/// In [`ExitRecord::status`]: the kernel ended the process for want of memory.
pub const OOM_VICTIM: u64 = 1 << 16;

/// What the BPF programs notify the agent of: a record of `EVENTS`. It says which record to read, and measures nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// The number of an [`EventKind`].
    pub kind: u32,
    /// The slot, or the process id.
    pub subject: u32,
}

/// What happened.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A process got a slot, or a tracked process executes another program that matches by its `comm`; the subject is
    /// the slot.
    Tracked = 1,
    /// The tracked process of a slot exited, was deselected, or lost its id to another process; the subject is the
    /// slot.
    Ended = 2,
    /// The agent has to decide whether a process matches; the subject is the process id.
    Undecided = 3,
    /// The same of a process that matches by its `comm`, but found no free slot.
    NoFreeSlot = 4,
}

impl EventKind {
    /// From its number in [`EventRecord`]; `None` for a number that no kind has.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Tracked),
            2 => Some(Self::Ended),
            3 => Some(Self::Undecided),
            4 => Some(Self::NoFreeSlot),
            _ => None,
        }
    }
}

/// What could not be counted: `DROPS`, one record. The BPF programs and the agent add to it atomically.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropsRecord {
    /// Matching processes that found no free slot.
    pub no_free_slot: u64,
    /// Matching processes whose id is beyond the `kernel.pid_max` of the load.
    pub tgid_out_of_range: u64,
    /// Events for which the ring buffer had no room, so that the agent has to look through all records.
    pub events: u64,
}

/// What the maps were made with: `SETTINGS`, one record, written once by the agent for `debug dump`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettingsRecord {
    /// [`LAYOUT`] of the agent that made the maps.
    pub layout: u64,
    /// Slots, which is how many processes can be tracked at once.
    pub capacity: u64,
    /// CPUs for which there are counters: all that could ever come online.
    pub cpus: u64,
    /// `kernel.pid_max` when the maps were made.
    pub pid_max: u64,
    /// The number of the [`Variant`] in which each signal's BPF programs are attached.
    pub variants: PerSource<u64>,
}

const _: () = {
    assert!(size_of::<Counts>() == 48 && align_of::<Counts>() == 8);
    assert!(offset_of!(Counts, voluntary) == 0);
    assert!(offset_of!(Counts, involuntary) == 8);
    assert!(offset_of!(Counts, read_bytes) == 16);
    assert!(offset_of!(Counts, write_bytes) == 24);
    assert!(offset_of!(Counts, read_operations) == 32);
    assert!(offset_of!(Counts, write_operations) == 40);

    assert!(size_of::<CountsRecord>() == 64 && align_of::<CountsRecord>() == 64);
    assert!(offset_of!(CountsRecord, counts) == 0);
    assert!(offset_of!(CountsRecord, reserved) == 48);

    assert!(size_of::<ProcessRecord>() == 96 && align_of::<ProcessRecord>() == 8);
    assert!(offset_of!(ProcessRecord, tgid) == 0);
    assert!(offset_of!(ProcessRecord, start_ticks) == 8);
    assert!(offset_of!(ProcessRecord, state) == 16);
    assert!(offset_of!(ProcessRecord, parent) == 24);
    assert!(offset_of!(ProcessRecord, comm) == 32);
    assert!(offset_of!(ProcessRecord, baseline) == 48);

    let accounting = size_of::<Accounting>();
    assert!(size_of::<ExitRecord>() == 40 + 2 * accounting + size_of::<IoAccounting>());
    assert!(align_of::<ExitRecord>() == 8);
    assert!(offset_of!(ExitRecord, start) == 0);
    assert!(offset_of!(ExitRecord, end) == 8);
    assert!(offset_of!(ExitRecord, peak_pages) == 16);
    assert!(offset_of!(ExitRecord, status) == 24);
    assert!(offset_of!(ExitRecord, peak_pages_at_start) == 32);
    assert!(offset_of!(ExitRecord, accounting_at_start) == 40);
    assert!(offset_of!(ExitRecord, accounting_at_end) == 40 + accounting);
    assert!(offset_of!(ExitRecord, own_io) == 40 + 2 * accounting);

    assert!(size_of::<EventRecord>() == 8);

    assert!(size_of::<DropsRecord>() == 24 && align_of::<DropsRecord>() == 8);
    assert!(offset_of!(DropsRecord, no_free_slot) == 0);
    assert!(offset_of!(DropsRecord, tgid_out_of_range) == 8);
    assert!(offset_of!(DropsRecord, events) == 16);

    assert!(size_of::<SettingsRecord>() == 56 && align_of::<SettingsRecord>() == 8);
    assert!(offset_of!(SettingsRecord, layout) == 0);
    assert!(offset_of!(SettingsRecord, capacity) == 8);
    assert!(offset_of!(SettingsRecord, cpus) == 16);
    assert!(offset_of!(SettingsRecord, pid_max) == 24);
    assert!(offset_of!(SettingsRecord, variants) == 32);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_added_again_is_the_later_reading_even_across_a_wrap() {
        let earlier = Counts { voluntary: 7, write_bytes: u64::MAX, ..Counts::default() };
        let later = Counts { voluntary: 9, write_bytes: 4095, read_operations: 3, ..Counts::default() };
        let difference = later.minus(&earlier);
        assert_eq!(difference.write_bytes, 4096);
        assert_eq!(earlier.plus(&difference), later);
    }

    #[test]
    fn a_state_and_a_kind_of_event_survive_their_numbers() {
        for state in
            [ProcessState::Free, ProcessState::Living, ProcessState::Exited, ProcessState::Deselected]
        {
            assert_eq!(ProcessState::from_number(state as u64), Some(state));
        }
        assert_eq!(ProcessState::from_number(4), None);
        for kind in [EventKind::Tracked, EventKind::Ended, EventKind::Undecided, EventKind::NoFreeSlot] {
            assert_eq!(EventKind::from_number(kind as u32), Some(kind));
        }
        assert_eq!((EventKind::from_number(0), EventKind::from_number(5)), (None, None));
    }
}
