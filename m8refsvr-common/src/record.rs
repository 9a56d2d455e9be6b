//! The records in the BPF maps. Each is made of whole 64-bit words without padding, so that both sides and a
//! dump by another process see the same bytes; every word is read and written as a whole.

use core::mem::{align_of, offset_of, size_of};

/// The layout of all records here. A dump refuses the maps of an agent with another layout.
pub const LAYOUT: u64 = 1;

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
    /// The sum, word by word; wraps like the counters themselves.
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

    /// The difference, word by word; wraps, so that adding `other` gives `self` again.
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
/// Counts up from the load of the programs and is never reset: see [`Target::offset`].
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The counts.
    pub counts: Counts,
    /// Fills the cache line.
    pub reserved: [u64; 2],
}

/// Who holds a slot: `TARGETS`, by slot - 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The process id in the initial PID namespace; 0 when the slot is free.
    pub tgid: u64,
    /// Start of the process in clock ticks after boot, as in `/proc/PID/stat`.
    pub start_ticks: u64,
    /// What to add (wrapping) to the slot's counters to get the totals of this process: what it had before it
    /// got the slot, less what the slot's earlier holders left in the counters.
    pub offset: Counts,
}

/// What could not be counted: `LOSSES`, one record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Matching processes that found no free slot.
    pub no_free_slot: u64,
    /// Matching processes whose id is beyond the `kernel.pid_max` of the load.
    pub tgid_out_of_range: u64,
}

/// How a source is read, as stored in [`Settings`].
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing is read.
    None = 0,
    /// A raw tracepoint.
    RawTracepoint = 1,
    /// A classic tracepoint.
    Tracepoint = 2,
}

impl Form {
    /// From its number in [`Settings`]; `None` for a number that no form has.
    pub const fn from_word(word: u64) -> Option<Self> {
        match word {
            0 => Some(Self::None),
            1 => Some(Self::RawTracepoint),
            2 => Some(Self::Tracepoint),
            _ => None,
        }
    }
}

/// What the maps were made with: `SETTINGS`, one record, written once by the agent for those who dump.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// [`LAYOUT`] of the agent that made the maps.
    pub layout: u64,
    /// Slots, which is the number of processes that can be watched at once.
    pub capacity: u64,
    /// CPUs for which there are counters: all that could ever come online.
    pub cpus: u64,
    /// `kernel.pid_max` when the maps were made.
    pub pid_max: u64,
    /// The [`Form`] in which context switches are counted.
    pub context_switches: u64,
    /// The [`Form`] in which block I/O is counted.
    pub block_io: u64,
}

const _: () = {
    assert!(size_of::<Counts>() == 48 && align_of::<Counts>() == 8);
    assert!(offset_of!(Counts, voluntary) == 0);
    assert!(offset_of!(Counts, involuntary) == 8);
    assert!(offset_of!(Counts, read_bytes) == 16);
    assert!(offset_of!(Counts, write_bytes) == 24);
    assert!(offset_of!(Counts, read_operations) == 32);
    assert!(offset_of!(Counts, write_operations) == 40);

    assert!(size_of::<Counters>() == 64 && align_of::<Counters>() == 64);
    assert!(offset_of!(Counters, counts) == 0);
    assert!(offset_of!(Counters, reserved) == 48);

    assert!(size_of::<Target>() == 64 && align_of::<Target>() == 8);
    assert!(offset_of!(Target, tgid) == 0);
    assert!(offset_of!(Target, start_ticks) == 8);
    assert!(offset_of!(Target, offset) == 16);

    assert!(size_of::<Losses>() == 16 && align_of::<Losses>() == 8);
    assert!(offset_of!(Losses, no_free_slot) == 0);
    assert!(offset_of!(Losses, tgid_out_of_range) == 8);

    assert!(size_of::<Settings>() == 48 && align_of::<Settings>() == 8);
    assert!(offset_of!(Settings, layout) == 0);
    assert!(offset_of!(Settings, capacity) == 8);
    assert!(offset_of!(Settings, cpus) == 16);
    assert!(offset_of!(Settings, pid_max) == 24);
    assert!(offset_of!(Settings, context_switches) == 32);
    assert!(offset_of!(Settings, block_io) == 40);
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
    fn a_form_survives_its_number() {
        for form in [Form::None, Form::RawTracepoint, Form::Tracepoint] {
            assert_eq!(Form::from_word(form as u64), Some(form));
        }
        assert_eq!(Form::from_word(3), None);
    }
}
