//! The maps, and the way from the running process to its counters. All are plain arrays that user space maps
//! into its memory: it reads and writes them without a system call.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::map,
    maps::Array,
};
use m8refsvr_common::{
    record::{Counters, Counts, Losses, Settings, Target},
    slot::{EXITING, counters_of, has_exiting, place_in},
};

/// Process id → where its counters begin, and how many of its threads are exiting; user space sets the size by `kernel.pid_max`.
#[map]
static SLOTS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// (slot, CPU) → counters; user space sets the size by the capacity and the CPUs.
#[map]
static COUNTERS: Array<Counters> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Slot → who holds it; written and read by user space alone, so that a dump can tell.
#[map]
static TARGETS: Array<Target> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What could not be counted.
#[map]
static LOSSES: Array<Losses> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What the maps were made with, for a dump.
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// A process that is watched, by its element of `SLOTS`.
#[derive(Clone, Copy)]
pub(crate) struct Watched(u64);

impl Watched {
    /// The running process, if it is watched. Process 0 (the idle threads) never has a slot.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        // Compared before it is cut to 32 bits, which saves the hook the cutting.
        let element = *SLOTS.get(current_tgid())?;
        if element == 0 { None } else { Some(Self(element)) }
    }

    /// Whether threads of it are exiting.
    #[inline(always)]
    pub(crate) fn has_exiting(self) -> bool {
        has_exiting(self.0)
    }

    /// Its counters on this CPU.
    #[inline(always)]
    pub(crate) fn counts(self) -> Option<NonNull<Counts>> {
        // SAFETY: the helper has no preconditions.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        NonNull::new(COUNTERS.get_ptr_mut(counters_of(place_in(self.0), cpu))?.cast())
    }
}

/// The running thread begins to exit.
#[inline(always)]
pub(crate) fn thread_exits() {
    if let Some(element) = SLOTS.get_ptr_mut(current_tgid()) {
        // SAFETY: the look-up returned a whole element.
        if unsafe { *element } != 0 {
            add(element, EXITING);
        }
    }
}

/// The running thread leaves the CPU for the last time.
#[inline(always)]
pub(crate) fn thread_ended() {
    if let Some(element) = SLOTS.get_ptr_mut(current_tgid()) {
        // One that began to exit before its process was watched was never added.
        // SAFETY: the look-up returned a whole element.
        if has_exiting(unsafe { *element }) {
            add(element, EXITING.wrapping_neg());
        }
    }
}

/// Adds in one step, wrapping: for words that others may add to at the same time. `AtomicU64::fetch_add` does not
/// exist for this target.
#[inline(always)]
pub(crate) fn add(word: *mut u64, value: u64) {
    // SAFETY: `word` is an aligned word of a map's element.
    #[cfg(target_arch = "bpf")]
    unsafe {
        core::arch::asm!("lock *(u64*)({word} + 0) += {value}", word = in(reg) word, value = in(reg) value);
    }
    // For checking the crate on other targets; it never runs there.
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = (word, value);
    }
}

/// The id of the running process (what user space calls its PID).
#[inline(always)]
pub(crate) fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}
