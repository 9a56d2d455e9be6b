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
    slot::counters_of,
};

/// Process id → where its counters begin; user space sets the size by `kernel.pid_max`.
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

/// The counters of the running process on this CPU, if it is one that is watched. Process 0 (the idle threads)
/// never has a slot.
#[inline(always)]
pub(crate) fn counts_of_current() -> Option<NonNull<Counts>> {
    // Compared before it is cut to 32 bits, which saves the hook the cutting.
    let first = *SLOTS.get(current_tgid())?;
    if first == 0 {
        return None;
    }
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let counters = COUNTERS.get_ptr_mut(counters_of(first as u32, cpu))?;
    NonNull::new(counters.cast())
}

/// The id of the running process (what user space calls its PID).
#[inline(always)]
pub(crate) fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}
