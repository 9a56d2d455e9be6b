//! How processes are numbered in the maps: `SLOTS` leads from a process id to the process's counters, which are
//! one record for each CPU, one after the other, in `COUNTERS`.
//!
//! `SLOTS` holds no bare number but the place where the counters begin, so that the hook only adds its CPU: the
//! multiplication is done once, by user space. An element of a BPF array takes eight bytes whatever its size is;
//! packing four 16-bit numbers into one would save three quarters of that memory, and costs more time in the hook
//! than is to be had there.
//!
//! The upper half of an element counts the threads of the process that are exiting, so that the hook looks closer
//! only while there are any. Its highest byte counts what the agent was told of the process so that it decides whether it
//! matches, and has not decided yet.

/// How many processes are watched at once unless the user says otherwise.
pub const DEFAULT_CAPACITY: u32 = 4096;

/// How many processes can be watched at once.
pub const MAX_CAPACITY: u32 = 65535;

/// Place in `COUNTERS` at which the records of a slot (from 1) begin. The records before those of slot 1 are
/// nobody's: in `SLOTS` the place 0 stands for "not watched", and where a process is let go of in the moment in which
/// a thread of it begins to exit, a note of that thread can stay there without a place.
#[inline(always)]
pub const fn first_counters(slot: u32, cpus: u32) -> u32 {
    slot * cpus
}

/// What one exiting thread adds to an element of `SLOTS`.
pub const EXITING: u64 = 1 << 32;

/// What one decision that is still to be taken adds to an element of `SLOTS`.
pub const UNDECIDED: u64 = 1 << 56;

/// How many decisions are counted.
pub const MOST_UNDECIDED: u64 = 255;

/// How many decisions about the process, and so about its children, are still to be taken.
#[inline(always)]
pub const fn undecided_in(element: u64) -> u64 {
    element >> 56
}

/// The place in an element of `SLOTS`.
#[inline(always)]
pub const fn place_in(element: u64) -> u32 {
    element as u32
}

/// Whether there is more in an element than a place, so that a switch needs a closer look.
#[inline(always)]
pub const fn needs_care(element: u64) -> bool {
    element >> 32 != 0
}

/// Whether threads of the process are exiting.
#[inline(always)]
pub const fn has_exiting(element: u64) -> bool {
    element << 8 >> 40 != 0
}

/// The slot whose records begin there; `None` for a place at which none begin.
#[inline(always)]
pub const fn slot_of(first: u32, cpus: u32) -> Option<u32> {
    if first == 0 || cpus == 0 || !first.is_multiple_of(cpus) {
        return None;
    }
    let slot = first / cpus;
    if slot <= MAX_CAPACITY { Some(slot) } else { None }
}

/// Place in `COUNTERS` of the record for a CPU (from 0), given where its slot's records begin.
#[inline(always)]
pub const fn counters_of(first: u32, cpu: u32) -> u32 {
    first + cpu
}

/// Elements that `COUNTERS` has; `None` where they can't be numbered.
pub const fn counters_length(capacity: u32, cpus: u32) -> Option<u32> {
    match capacity.checked_add(1) {
        Some(rows) => rows.checked_mul(cpus),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_slot_and_cpu_has_a_record_of_its_own() {
        let (cpus, capacity) = (3, 5);
        let mut seen = [false; 18];
        assert_eq!(counters_length(capacity, cpus), Some(18));
        for slot in 1..=capacity {
            for cpu in 0..cpus {
                let index = counters_of(first_counters(slot, cpus), cpu) as usize;
                assert!(!core::mem::replace(&mut seen[index], true), "cpu {cpu}, slot {slot}");
            }
        }
        // What has no place is counted for nobody, whichever CPU counts it.
        assert_eq!(seen[..3], [false; 3]);
        assert_eq!(seen[3..], [true; 15]);
        assert!((0..cpus).all(|cpu| !seen[counters_of(place_in(EXITING), cpu) as usize]));
    }

    #[test]
    fn a_slot_is_found_again_from_its_place() {
        for slot in [1, 2, 4096, MAX_CAPACITY] {
            assert_eq!(slot_of(first_counters(slot, 8), 8), Some(slot));
        }
        assert_eq!(slot_of(0, 8), None);
        assert_eq!(slot_of(9, 8), None);
        assert_eq!(slot_of(u32::MAX, 8), None);
        assert_eq!(slot_of(8, 0), None);
        assert_eq!(slot_of(place_in(EXITING), 8), None);
    }

    #[test]
    fn exiting_threads_leave_the_place_alone() {
        let element = u64::from(first_counters(7, 2));
        assert!(
            !has_exiting(element) && has_exiting(element + EXITING) && has_exiting(element + 3 * EXITING)
        );
        assert_eq!(place_in(element + 3 * EXITING), first_counters(7, 2));
        assert!(!has_exiting(u32::MAX.into()) && !needs_care(u32::MAX.into()));
        assert!(needs_care(EXITING));
    }

    #[test]
    fn a_process_that_is_not_decided_yet_has_no_place_and_its_threads_are_counted_all_the_same() {
        assert_eq!(place_in(UNDECIDED), 0);
        assert!(needs_care(UNDECIDED) && !has_exiting(MOST_UNDECIDED * UNDECIDED));
        assert!(has_exiting(UNDECIDED + EXITING) && !has_exiting(UNDECIDED + EXITING - EXITING));
        assert_eq!(undecided_in(3 * UNDECIDED + 5 * EXITING + 7), 3);
        assert_eq!(undecided_in(MOST_UNDECIDED * UNDECIDED), MOST_UNDECIDED);
    }

    #[test]
    fn more_records_than_can_be_numbered_are_refused() {
        assert_eq!(counters_length(MAX_CAPACITY, 65537), None);
        assert_eq!(counters_length(4096, 2), Some(8194));
    }
}
