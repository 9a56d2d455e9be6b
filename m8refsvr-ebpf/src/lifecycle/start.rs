//! Processes as they start, execute other programs, and take other names: whether they match is decided here by their
//! `comm`, or user space is asked.

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_comm, bpf_get_current_task, bpf_probe_read_kernel_str_bytes},
};
use m8refsvr_common::{
    accounting::Accounting,
    comm::{COMM_BYTES, MAX_NAMES, is_own, small, words},
    record::{Counts, EventKind, ProcessState},
    slot::{CounterOffset, Slot, SlotEntry, Tgid},
};

use super::{
    accounting::write_io_of_exited,
    exit::end,
    slots::{assign, give_back},
    task::Process,
};
use crate::{
    maps::{
        EntryRef, NAMES, ask, ask_and_note, count_drop, counters_of, counts_at, current_tgid, notify,
        records, slot_at, take_free_slot,
    },
    offsets::{OFFSETS, read, read_u32, read_u64},
};

/// `PF_KTHREAD` in a task's flags: a thread of the kernel. Source: `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// How many elements of `NAMES` are names.
#[unsafe(no_mangle)]
static NAME_COUNT: Global<u32> = Global::new(0);

/// Whether a `comm` without any of the names can match all the same, by a regular expression.
#[unsafe(no_mangle)]
static ANY_COMM: Global<u32> = Global::new(0);

/// The running process executes another program.
#[inline(always)]
pub(crate) fn executed() {
    let tgid = current_tgid();
    // Beyond the table; the agent reports those that match.
    let Some(entry) = EntryRef::of(tgid) else {
        ask(EventKind::Undecided, tgid);
        return;
    };
    let counters = entry.load().counters();
    let Ok(comm) = bpf_get_current_comm() else { return };
    let comm = words(comm);
    match (slot_at(counters), matches(comm)) {
        (None, true) => match take_free_slot() {
            Some(slot) => begin(slot, tgid, comm, entry),
            None => found_no_free_slot(tgid, entry),
        },
        (None, false) => ask_and_note(EventKind::Undecided, tgid, entry),
        (Some(slot), true) => notify(EventKind::Tracked, slot),
        (Some(slot), false) => {
            entry.subtract(counters.as_addend());
            end(slot, ProcessState::Deselected);
            ask_and_note(EventKind::Undecided, tgid, entry);
        }
    }
}

/// Tracks the running process, which has one thread and no slot yet, in this slot.
#[inline(always)]
fn begin(slot: Slot, tgid: Tgid, comm: [u64; 2], entry: EntryRef) {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    assign(slot, tgid, task, comm, None);
    let counters = counters_of(slot);
    let Some((tracked, exit)) = records(slot) else { return };
    let process = Process::of(task);
    // SAFETY: both look-ups returned whole records, which this program alone writes to.
    unsafe {
        // Its other threads have exited.
        write_io_of_exited(&raw mut (*exit).own_io, process.signal);
        // Execution has given up the memory of the program before, and noted the peak of that.
        (*exit).peak_pages_at_start = read_u64(process.signal, &OFFSETS.signal.peak_pages);
    }
    let before = switches_at(counters);
    entry.add(counters.as_addend());
    if entry.load().counters() != counters {
        // User space gave it another slot at this very moment.
        entry.subtract(counters.as_addend());
        return give_back(slot);
    }
    // From now on it is counted. What was before goes into the baseline.
    // SAFETY: as above.
    unsafe {
        let at_start = &raw mut (*exit).accounting_at_start;
        let _ = write_accounting_at_start(&process, at_start, counters, before)
            || write_accounting_at_start(&process, at_start, counters, before)
            || write_accounting_at_start(&process, at_start, counters, before);
        let Counts { voluntary, involuntary, .. } = &mut (*tracked).baseline;
        *voluntary = voluntary.wrapping_add((*at_start).voluntary);
        *involuntary = involuntary.wrapping_add((*at_start).involuntary);
    }
    notify(EventKind::Tracked, slot);
}

/// Writes the accounting that the running process, which has one thread, had when its slot's counters were `before` on
/// this CPU. Returns whether it did not switch meanwhile: on newer kernels programs can be preempted, but go on on the
/// same CPU.
///
/// # Safety
/// As of [`Process::write_accounting`].
#[inline(always)]
unsafe fn write_accounting_at_start(
    process: &Process,
    values: *mut Accounting,
    counters: CounterOffset,
    before: (u64, u64),
) -> bool {
    let counted = switches_at(counters);
    // SAFETY: the caller's.
    unsafe {
        process.write_accounting(values);
        (*values).voluntary = (*values).voluntary.wrapping_sub(counted.0.wrapping_sub(before.0));
        (*values).involuntary = (*values).involuntary.wrapping_sub(counted.1.wrapping_sub(before.1));
    }
    switches_at(counters) == counted
}

/// The context switches that the counters have on this CPU: voluntary and involuntary.
#[inline(always)]
fn switches_at(counters: CounterOffset) -> (u64, u64) {
    match counts_at(counters) {
        // SAFETY: the look-up returned a whole record.
        Some(counts) => unsafe { ((*counts.as_ptr()).voluntary, (*counts.as_ptr()).involuntary) },
        None => (0, 0),
    }
}

/// The running process has a new child, which has not run yet, or a new thread.
#[inline(always)]
pub(crate) fn forked(child: u64) {
    let tgid = Tgid(read_u32(child, &OFFSETS.task.tgid));
    if read_u32(child, &OFFSETS.task.pid) != tgid.0 {
        return;
    }
    let parent_tgid = current_tgid();
    // Whether a parent beyond the table matches is not known.
    let parent = EntryRef::of(parent_tgid).map_or(SlotEntry(SlotEntry::UNDECIDED), EntryRef::load);
    let Some(entry) = EntryRef::of(tgid) else {
        if !parent.is_empty() {
            ask(EventKind::Undecided, tgid);
        }
        return;
    };
    let old = entry.load();
    if !old.is_empty() {
        // Of an earlier process with this id, whose end was missed.
        entry.store(SlotEntry::default());
        if let Some(slot) = slot_at(old.counters()) {
            notify(EventKind::Ended, slot);
        }
    }
    if !parent.counters().is_none() {
        let comm = words(read::<[u8; COMM_BYTES]>(child, &OFFSETS.task.comm).unwrap_or_default());
        let Some(slot) = take_free_slot() else { return found_no_free_slot(tgid, entry) };
        assign(slot, tgid, child, comm, Some(parent_tgid));
        if let Some((_, exit)) = records(slot) {
            // SAFETY: the look-up returned a whole record, which this program alone writes to.
            unsafe { (*exit).accounting_at_start = Accounting::default() };
        }
        entry.store(SlotEntry(counters_of(slot).as_addend()));
        notify(EventKind::Tracked, slot);
    } else if parent.undecided() != 0 {
        ask_and_note(EventKind::Undecided, tgid, entry);
    }
}

/// A thread gets another name.
#[inline(always)]
pub(crate) fn renamed(task: u64, comm: u64) {
    let tgid = Tgid(read_u32(task, &OFFSETS.task.tgid));
    let is_leader = read_u32(task, &OFFSETS.task.pid) == tgid.0;
    if !is_leader || read_u32(task, &OFFSETS.task.flags) & PF_KTHREAD != 0 {
        return;
    }
    let Some(entry) = EntryRef::of(tgid) else { return };
    let now = entry.load();
    // What is behind the end of the name is not part of it.
    let mut name = [0; COMM_BYTES];
    // SAFETY: the helper checks the address.
    if unsafe { bpf_probe_read_kernel_str_bytes(comm as *const u8, &mut name) }.is_err() {
        return;
    }
    let name = words(name);
    let is_match = matches(name);
    let is_tracked = !now.counters().is_none();
    // Of a process with one thread the past is known here. One that executes another program has one thread, and takes
    // that program's name a little before `sched_process_exec`.
    if is_match
        && !is_tracked
        && read_u32(read_u64(task, &OFFSETS.task.signal), &OFFSETS.signal.threads) == 1
        && let Some(slot) = take_free_slot()
    {
        return begin(slot, tgid, name, entry);
    }
    // It may match from now on, or no longer, or for another pattern.
    if is_match != is_tracked || (is_tracked && NAME_COUNT.load() > 1) || ANY_COMM.load() != 0 {
        ask_and_note(EventKind::Undecided, tgid, entry);
    }
}

/// A process found no free slot. User space decides what becomes of it.
#[inline(always)]
fn found_no_free_slot(tgid: Tgid, entry: EntryRef) {
    count_drop(|drops| &raw mut drops.no_free_slot);
    ask_and_note(EventKind::NoFreeSlot, tgid, entry);
}

/// Whether one of the names is in a `comm`, and it is none of the agent's own.
#[inline(always)]
fn matches(comm: [u64; 2]) -> bool {
    if is_own(comm) {
        return false;
    }
    let comm = small(comm);
    for at in 0..MAX_NAMES {
        if at >= NAME_COUNT.load() {
            return false;
        }
        if NAMES.get(at).is_some_and(|name| name.is_in(comm)) {
            return true;
        }
    }
    false
}
