//! The maps, and the way from a process to its counters. What user space reads and writes at each collection is in
//! plain arrays, which it maps into its memory: no system call is needed.

use core::ptr::NonNull;

use aya_ebpf::{
    Global,
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
    slot::{CounterOffset, Slot, SlotEntry, Tgid},
};

/// Process id → [`SlotEntry`]. User space sets the size by `kernel.pid_max`.
#[map]
static SLOTS: Array<SlotEntry> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// (slot, CPU) → counters. User space sets the size by the capacity and the number of CPUs.
#[map]
static COUNTERS: Array<CountsRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Slot → its tracked process.
#[map]
static PROCESSES: Array<ProcessRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Slot → what the kernel knew of its tracked process at its start and at its end.
#[map]
static EXITS: Array<ExitRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Numbers of the free slots. A slot is free again only after user space has read the records of its last process.
#[map]
static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(1, 0);

/// Names that are looked for in the `comm` of a process.
#[map]
pub(crate) static NAMES: Array<Name> = Array::with_max_entries(1, 0);

/// Notifications for user space.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// What could not be counted.
#[map]
static DROPS: Array<DropsRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What the maps were made with; `debug dump` reads it.
#[map]
static SETTINGS: Array<SettingsRecord> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// How many CPUs have counters.
#[unsafe(no_mangle)]
static CPUS: Global<u32> = Global::new(1);

/// A process that is tracked, or of which threads are exiting, by its entry in `SLOTS`.
#[derive(Clone, Copy)]
pub(crate) struct TrackedProcess(SlotEntry);

impl TrackedProcess {
    /// The running process, if anything is noted of it. Process 0 (the idle threads) never has a slot.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        // All 64 bits are compared: to cut them to 32 first would cost the hook an instruction.
        let entry = *SLOTS.get(current_tgid().0)?;
        if entry.is_empty() { None } else { Some(Self(entry)) }
    }

    /// Whether there is more to be known of it, so that its switches take the longer way.
    #[inline(always)]
    pub(crate) fn has_notes(self) -> bool {
        self.0.has_notes()
    }

    /// Its counters on this CPU.
    #[inline(always)]
    pub(crate) fn counts(self) -> Option<NonNull<Counts>> {
        counts_at(self.0.counters())
    }
}

/// The counters on this CPU of the slot whose records begin there.
#[inline(always)]
pub(crate) fn counts_at(counters: CounterOffset) -> Option<NonNull<Counts>> {
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    NonNull::new(COUNTERS.get_ptr_mut(counters.of_cpu(cpu))?.cast())
}

/// Where the counters of a slot begin.
#[inline(always)]
pub(crate) fn counters_of(slot: Slot) -> CounterOffset {
    CounterOffset::of(slot, CPUS.load())
}

/// The slot whose counters begin there.
#[inline(always)]
pub(crate) fn slot_at(counters: CounterOffset) -> Option<Slot> {
    counters.slot(CPUS.load())
}

/// An entry of `SLOTS`, where it lies.
#[derive(Clone, Copy)]
pub(crate) struct EntryRef(NonNull<SlotEntry>);

impl EntryRef {
    /// That of a process; `None` for an id beyond the table.
    #[inline(always)]
    pub(crate) fn of(tgid: Tgid) -> Option<Self> {
        NonNull::new(SLOTS.get_ptr_mut(tgid.0)?).map(Self)
    }

    /// The entry as it is now.
    #[inline(always)]
    pub(crate) fn load(self) -> SlotEntry {
        // SAFETY: the look-up returned a whole element.
        unsafe { self.0.read_volatile() }
    }

    /// Writes it, whatever it was.
    #[inline(always)]
    pub(crate) fn store(self, entry: SlotEntry) {
        // SAFETY: as above.
        unsafe { self.0.write_volatile(entry) }
    }

    /// Adds to it atomically, wrapping.
    #[inline(always)]
    pub(crate) fn add(self, value: u64) {
        add(self.0.as_ptr().cast(), value);
    }

    /// Subtracts from it atomically, wrapping.
    #[inline(always)]
    pub(crate) fn subtract(self, value: u64) {
        self.add(value.wrapping_neg());
    }
}

/// The records of a slot's tracked process.
#[inline(always)]
pub(crate) fn records(slot: Slot) -> Option<(*mut ProcessRecord, *mut ExitRecord)> {
    Some((PROCESSES.get_ptr_mut(slot.index())?, EXITS.get_ptr_mut(slot.index())?))
}

/// Takes a free slot.
#[inline(always)]
pub(crate) fn take_free_slot() -> Option<Slot> {
    FREE_SLOTS.pop().ok().flatten().and_then(Slot::new)
}

/// Puts a slot back, behind all other free ones.
#[inline(always)]
pub(crate) fn put_free_slot(slot: Slot) {
    // There is room for all slots that there are.
    let _ = FREE_SLOTS.push(slot.number(), 0);
}

/// Notifies user space of something about a slot.
#[inline(always)]
pub(crate) fn notify(kind: EventKind, slot: Slot) {
    let _ = output(kind, slot.number());
}

/// Asks user space whether a process matches; whether the ring buffer had room.
#[inline(always)]
pub(crate) fn ask(kind: EventKind, tgid: Tgid) -> bool {
    output(kind, tgid.0)
}

/// Asks user space whether a process matches, and notes in its entry that there is no answer yet.
#[inline(always)]
pub(crate) fn ask_and_note(kind: EventKind, tgid: Tgid, entry: EntryRef) {
    let is_noted = entry.load().undecided() < SlotEntry::MOST_UNDECIDED;
    // First, as user space may answer at once.
    if is_noted {
        entry.add(SlotEntry::UNDECIDED);
    }
    if !ask(kind, tgid) && is_noted {
        // Nobody will answer: user space was not asked.
        entry.subtract(SlotEntry::UNDECIDED);
    }
}

#[inline(always)]
fn output(kind: EventKind, subject: u32) -> bool {
    let event = EventRecord { kind: kind as u32, subject };
    let had_room = EVENTS.output::<EventRecord>(event, 0).is_ok();
    if !had_room {
        count_drop(|drops| &raw mut drops.events);
    }
    had_room
}

/// Counts something that was dropped.
#[inline(always)]
pub(crate) fn count_drop(field: impl FnOnce(&mut DropsRecord) -> *mut u64) {
    if let Some(drops) = DROPS.get_ptr_mut(0) {
        // SAFETY: the look-up returned a whole record, of which only an address is taken.
        add(field(unsafe { &mut *drops }), 1);
    }
}

/// Adds atomically, wrapping. `AtomicU64::fetch_add` does not exist for this target.
#[inline(always)]
pub(crate) fn add(number: *mut u64, value: u64) {
    // SAFETY: `number` is an aligned field of a map's element.
    #[cfg(target_arch = "bpf")]
    unsafe {
        core::arch::asm!("lock *(u64*)({number} + 0) += {value}", number = in(reg) number, value = in(reg) value);
    }
    // For checking the crate on other targets; it never runs there.
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = (number, value);
    }
}

/// The id of the running process.
#[inline(always)]
pub(crate) fn current_tgid() -> Tgid {
    Tgid((bpf_get_current_pid_tgid() >> 32) as u32)
}
