//! How tracked processes are numbered in the maps. `SLOTS` has an entry for each process id: it leads to the process's
//! counters, which are one record for each CPU, one after the other, in `COUNTERS`.
//!
//! An entry holds the index of the first of these records rather than the slot's number, so that the hook only adds
//! its CPU: the multiplication was done when the slot was given out. An entry has eight bytes, as elements of BPF
//! arrays do whatever their size is. Packing four 16-bit numbers into one would save three quarters of that memory,
//! but costs the hook more time than that is worth.

use core::num::NonZeroU32;

/// How many processes are tracked at once unless the user says otherwise.
pub const DEFAULT_CAPACITY: u32 = 4096;

/// How many processes can be tracked at once.
pub const MAX_CAPACITY: u32 = 65535;

/// The id of a process in the initial PID namespace: a thread group id, which user space calls PID.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tgid(pub u32);

/// The number of a slot. The first is 1.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(NonZeroU32);

impl Slot {
    /// `None` for 0, which is no slot's number.
    #[inline(always)]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number, from 1.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// Where its records are in `PROCESSES` and `EXITS`.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0.get() - 1
    }

    /// The slots that so many processes need, in ascending order.
    pub fn first(capacity: u32) -> impl Iterator<Item = Self> {
        (1..=capacity).filter_map(Self::new)
    }
}

/// The index in `COUNTERS` of a slot's first record, that of CPU 0. The records before those of slot 1 belong to no
/// slot: 0 stands for no slot, and what is counted there by mistake is never read.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterOffset(u32);

impl CounterOffset {
    /// That of a process without a slot.
    pub const NONE: Self = Self(0);

    /// Where the records of a slot begin.
    #[inline(always)]
    pub const fn of(slot: Slot, cpus: u32) -> Self {
        Self(slot.number() * cpus)
    }

    /// The index in `COUNTERS` of the record for a CPU, from 0.
    #[inline(always)]
    pub const fn of_cpu(self, cpu: u32) -> u32 {
        self.0 + cpu
    }

    /// Whether it is [`Self::NONE`].
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The slot whose records begin there; `None` where no slot's records begin.
    #[inline(always)]
    pub const fn slot(self, cpus: u32) -> Option<Slot> {
        if cpus == 0 || !self.0.is_multiple_of(cpus) {
            return None;
        }
        let number = self.0 / cpus;
        if number <= MAX_CAPACITY { Slot::new(number) } else { None }
    }

    /// What is added to an entry without a slot to give it this one.
    #[inline(always)]
    pub const fn as_addend(self) -> u64 {
        self.0 as u64
    }
}

/// What `SLOTS` has of a process, in 64 bits:
///
/// | bits | content |
/// |---|---|
/// | 0 to 31 | where its counters begin: a [`CounterOffset`] |
/// | 32 to 55 | how many of its threads are exiting |
/// | 56 to 63 | how often the BPF programs have asked the agent whether it matches, without an answer yet |
///
/// A thread that is exiting stays noted when its process loses its slot at that moment. So an entry without a counter
/// offset need not be 0.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotEntry(pub u64);

impl SlotEntry {
    /// What one exiting thread adds.
    pub const EXITING: u64 = 1 << 32;

    /// What one unanswered question whether the process matches adds.
    pub const UNDECIDED: u64 = 1 << 56;

    /// How many unanswered questions can be counted.
    pub const MOST_UNDECIDED: u64 = 255;

    /// Whether nothing is noted of the process.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Where the counters begin; [`CounterOffset::NONE`] when it has none.
    #[inline(always)]
    pub const fn counters(self) -> CounterOffset {
        CounterOffset(self.0 as u32)
    }

    /// With other counters, and all else as it was.
    #[must_use]
    pub const fn with_counters(self, counters: CounterOffset) -> Self {
        Self(self.0 >> 32 << 32 | counters.as_addend())
    }

    /// Whether there is more in it than where the counters begin, so that a context switch takes the longer way.
    #[inline(always)]
    pub const fn has_notes(self) -> bool {
        self.0 >> 32 != 0
    }

    /// Whether threads of the process are exiting.
    #[inline(always)]
    pub const fn has_exiting(self) -> bool {
        self.0 << 8 >> 40 != 0
    }

    /// How many questions whether the process matches are unanswered. While there are any, whether its children match
    /// is asked too.
    #[inline(always)]
    pub const fn undecided(self) -> u64 {
        self.0 >> 56
    }

    /// With one question answered; `None` when none was asked.
    pub const fn with_answer(self) -> Option<Self> {
        if self.undecided() == 0 { None } else { Some(Self(self.0 - Self::UNDECIDED)) }
    }
}

/// How many records `COUNTERS` has; `None` where an index can't number so many.
pub const fn counters_length(capacity: u32, cpus: u32) -> Option<u32> {
    match capacity.checked_add(1) {
        Some(rows) => rows.checked_mul(cpus),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXITING: u64 = SlotEntry::EXITING;
    const UNDECIDED: u64 = SlotEntry::UNDECIDED;

    fn slot(number: u32) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn every_pair_of_slot_and_cpu_has_a_record_of_its_own() {
        let (cpus, capacity) = (3, 5);
        let mut seen = [false; 18];
        assert_eq!(counters_length(capacity, cpus), Some(18));
        for slot in Slot::first(capacity) {
            for cpu in 0..cpus {
                let index = CounterOffset::of(slot, cpus).of_cpu(cpu) as usize;
                assert!(!core::mem::replace(&mut seen[index], true), "cpu {cpu}, {slot:?}");
            }
        }
        // An entry without a slot leads to records of no slot, whichever CPU counts.
        assert_eq!(seen[..3], [false; 3]);
        assert_eq!(seen[3..], [true; 15]);
        assert!((0..cpus).all(|cpu| !seen[SlotEntry(EXITING).counters().of_cpu(cpu) as usize]));
    }

    #[test]
    fn a_slot_is_found_again_from_its_counter_offset() {
        for number in [1, 2, 4096, MAX_CAPACITY] {
            assert_eq!(CounterOffset::of(slot(number), 8).slot(8), Some(slot(number)));
        }
        assert_eq!(CounterOffset::NONE.slot(8), None);
        assert_eq!(CounterOffset(9).slot(8), None);
        assert_eq!(CounterOffset(u32::MAX).slot(8), None);
        assert_eq!(CounterOffset(8).slot(0), None);
        assert_eq!(SlotEntry(EXITING).counters().slot(8), None);
    }

    #[test]
    fn slots_are_numbered_from_1_and_their_records_from_0() {
        assert_eq!(Slot::new(0), None);
        assert!(Slot::first(3).map(Slot::number).eq(1..=3));
        assert!(Slot::first(3).map(Slot::index).eq(0..3));
    }

    #[test]
    fn exiting_threads_leave_the_counter_offset_alone() {
        let counters = CounterOffset::of(slot(7), 2);
        let entry = SlotEntry(counters.as_addend());
        let exiting = |threads: u64| SlotEntry(entry.0 + threads * EXITING);
        assert!(!entry.has_exiting() && exiting(1).has_exiting() && exiting(3).has_exiting());
        assert_eq!(exiting(3).counters(), counters);
        assert!(!SlotEntry(u32::MAX.into()).has_exiting() && !SlotEntry(u32::MAX.into()).has_notes());
        assert!(SlotEntry(EXITING).has_notes());
    }

    #[test]
    fn other_counters_leave_the_notes_alone() {
        let notes = SlotEntry(2 * UNDECIDED + 3 * EXITING + 14);
        let counters = CounterOffset::of(slot(9), 2);
        assert_eq!(notes.with_counters(counters), SlotEntry(2 * UNDECIDED + 3 * EXITING + 18));
        assert_eq!(notes.with_counters(CounterOffset::NONE), SlotEntry(2 * UNDECIDED + 3 * EXITING));
    }

    #[test]
    fn an_undecided_process_has_no_counters_and_its_exiting_threads_are_counted_all_the_same() {
        let most = SlotEntry(SlotEntry::MOST_UNDECIDED * UNDECIDED);
        assert!(SlotEntry(UNDECIDED).counters().is_none());
        assert!(SlotEntry(UNDECIDED).has_notes() && !most.has_exiting());
        assert!(SlotEntry(UNDECIDED + EXITING).has_exiting() && !SlotEntry(UNDECIDED).has_exiting());
        assert_eq!(SlotEntry(3 * UNDECIDED + 5 * EXITING + 7).undecided(), 3);
        assert_eq!(most.undecided(), SlotEntry::MOST_UNDECIDED);
        assert_eq!(SlotEntry(UNDECIDED + 7).with_answer(), Some(SlotEntry(7)));
        assert_eq!(SlotEntry(EXITING).with_answer(), None);
    }

    #[test]
    fn more_records_than_can_be_numbered_are_refused() {
        assert_eq!(counters_length(MAX_CAPACITY, 65537), None);
        assert_eq!(counters_length(4096, 2), Some(8194));
    }
}
