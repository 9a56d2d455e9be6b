//! The maps, and the way from the running process to its counters. Whatever is measured is in plain arrays that user
//! space maps into its memory: it reads and writes them without a system call.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::map,
    maps::{Array, Queue, RingBuf},
};
use m8refsvr_common::{
    comm::Name,
    record::{
        Counts, CountsRecord, DropsRecord, EventKind, EventRecord, ExitRecord, ProcessRecord, SettingsRecord,
    },
    slot::{
        EXITING, MOST_UNDECIDED, UNDECIDED, counters_of, has_exiting, needs_care, place_in, undecided_in,
    },
};

use crate::lifecycle;

/// Process id → where its counters begin, and what else is to be known of it: see `m8refsvr_common::slot`. User space
/// sets the size by `kernel.pid_max`.
#[map]
static SLOTS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// (slot, CPU) → counters; user space sets the size by the capacity and the CPUs.
#[map]
static COUNTERS: Array<CountsRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Slot → who holds it.
#[map]
pub(crate) static PROCESSES: Array<ProcessRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Slot → beginning and end of who holds it.
#[map]
pub(crate) static EXITS: Array<ExitRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Slots that nobody holds, and of which user space has taken the last figures.
#[map]
pub(crate) static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(1, 0);

/// Names that are looked for in the `comm` of a process.
#[map]
pub(crate) static NAMES: Array<Name> = Array::with_max_entries(1, 0);

/// Tells user space that there is something to look at.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// What could not be counted.
#[map]
static DROPS: Array<DropsRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What the maps were made with, for a dump.
#[map]
static SETTINGS: Array<SettingsRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

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

    /// Whether its switches need a closer look, as there is more to be known of it.
    #[inline(always)]
    pub(crate) fn needs_care(self) -> bool {
        needs_care(self.0)
    }

    /// Its counters on this CPU.
    #[inline(always)]
    pub(crate) fn counts(self) -> Option<NonNull<Counts>> {
        counts_at(place_in(self.0))
    }
}

/// The counters on this CPU of those that begin at a place.
#[inline(always)]
pub(crate) fn counts_at(place: u32) -> Option<NonNull<Counts>> {
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    NonNull::new(COUNTERS.get_ptr_mut(counters_of(place, cpu))?.cast())
}

/// The element of `SLOTS` of a process.
#[inline(always)]
pub(crate) fn element_of(tgid: u32) -> Option<NonNull<u64>> {
    NonNull::new(SLOTS.get_ptr_mut(tgid)?)
}

/// The running thread begins to exit.
#[inline(always)]
pub(crate) fn thread_exits() {
    let Some(element) = element_of(current_tgid()) else { return };
    // SAFETY: the look-up returned a whole element.
    let now = unsafe { element.read_volatile() };
    if now != 0 {
        add(element.as_ptr(), EXITING);
        lifecycle::thread_exits(place_in(now));
    }
}

/// The running thread leaves the CPU for the last time.
#[inline(always)]
pub(crate) fn thread_ended() {
    let Some(element) = element_of(current_tgid()) else { return };
    // SAFETY: the look-up returned a whole element.
    let now = unsafe { element.read_volatile() };
    lifecycle::thread_ended(place_in(now));
    // One that began to exit before its process was watched was never added.
    if has_exiting(now) {
        add(element.as_ptr(), EXITING.wrapping_neg());
    }
    // Two threads may both find that none is left: what they do then has the same outcome.
    // SAFETY: as above.
    let rest = unsafe { element.read_volatile() };
    if !has_exiting(rest) {
        lifecycle::threads_ended(element, place_in(rest));
    }
}

/// Tells user space; whether there was room.
#[inline(always)]
pub(crate) fn tell(kind: EventKind, subject: u32) -> bool {
    let event = EventRecord { kind: kind as u32, subject };
    let is_told = EVENTS.output::<EventRecord>(event, 0).is_ok();
    if !is_told {
        lost(|losses| &raw mut losses.events);
    }
    is_told
}

/// Tells user space that it has to decide about a process, which is noted until it has.
#[inline(always)]
pub(crate) fn tell_to_decide(kind: EventKind, tgid: u32, element: NonNull<u64>) {
    // SAFETY: the look-up returned a whole element.
    let is_noted = undecided_in(unsafe { element.read_volatile() }) < MOST_UNDECIDED;
    // First, as user space may decide at once.
    if is_noted {
        add(element.as_ptr(), UNDECIDED);
    }
    if !tell(kind, tgid) && is_noted {
        // It will look by itself.
        add(element.as_ptr(), UNDECIDED.wrapping_neg());
    }
}

/// Counts a loss.
#[inline(always)]
pub(crate) fn lost(word: impl FnOnce(&mut DropsRecord) -> *mut u64) {
    if let Some(losses) = DROPS.get_ptr_mut(0) {
        // SAFETY: the look-up returned a whole record, of which only an address is taken.
        add(word(unsafe { &mut *losses }), 1);
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
