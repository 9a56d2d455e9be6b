//! The end of a tracked process: it exits, or executes a program that does not match.

use aya_ebpf::helpers::{bpf_get_current_task, generated::bpf_ktime_get_boot_ns};
use m8refsvr_common::{
    record::{EventKind, ProcessState},
    slot::{CounterOffset, Slot, SlotEntry},
};

use super::{
    slots::add_io_of_current,
    task::{Process, ticks},
};
use crate::{
    maps::{EntryRef, current_tgid, notify, records, slot_at},
    offsets::{OFFSETS, read_u32, read_u64},
};

/// The running thread begins to exit.
#[inline(always)]
pub(crate) fn thread_exits() {
    let Some(entry) = EntryRef::of(current_tgid()) else { return };
    let now = entry.load();
    if now.is_empty() {
        return;
    }
    entry.add(SlotEntry::EXITING);
    // If this is the last thread, the process ends now: its parent, which may start another in its place, is notified
    // next.
    if OFFSETS.signal.live.is_known()
        && let Some(slot) = slot_at(now.counters())
        && let Some((_, exit)) = records(slot)
    {
        // SAFETY: the look-up returned a whole record, and the helper has no preconditions.
        unsafe { (*exit).end = bpf_ktime_get_boot_ns() };
    }
}

/// The running thread leaves the CPU for the last time.
#[inline(always)]
pub(crate) fn thread_exited() {
    let Some(entry) = EntryRef::of(current_tgid()) else { return };
    let now = entry.load();
    let follows_processes = OFFSETS.signal.live.is_known();
    if follows_processes && let Some(slot) = slot_at(now.counters()) {
        add_io_of_current(slot);
    }
    // A thread that began to exit before its process was tracked was never added.
    if now.has_exiting() {
        entry.subtract(SlotEntry::EXITING);
    }
    // Two threads may both find that none is left: what they do then has the same outcome.
    let rest = entry.load();
    if follows_processes && !rest.has_exiting() {
        process_may_have_exited(entry, rest.counters());
    }
}

/// Ends the running process if this was the last switch of its last thread. None of its threads is between the
/// beginning of its exit and its last switch.
#[inline(always)]
fn process_may_have_exited(entry: EntryRef, counters: CounterOffset) {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let process = Process::of(task);
    if read_u32(process.signal, &OFFSETS.signal.live) != 0 {
        return;
    }
    // `do_exit` (`kernel/exit.c`) takes a thread from `signal->live` before it reaches `sched_process_exit`; until
    // Linux 6.15 the thread gives up its memory in between. So `live` can be 0 while a thread is still to pass that
    // hook, and its last switch is still to come: such a thread is in `nr_threads`. The leader may stay in there after
    // its exit, until its parent reaps it. A thread that is traced stays in there until its tracer reaps it.
    let leader_exited = process.leader.is_some_and(|leader| read_u32(leader, &OFFSETS.task.exit_state) != 0);
    if read_u32(process.signal, &OFFSETS.signal.threads) > u32::from(leader_exited)
        && read_u32(task, &OFFSETS.task.ptrace) == 0
    {
        return;
    }
    let slot = slot_at(counters);
    if let (Some(leader), Some((tracked, _))) = (process.leader, slot.and_then(records)) {
        // The id may be another process's by now, and the slot.
        // SAFETY: the look-up returned a whole record.
        if unsafe { (*tracked).start_ticks } != ticks(read_u64(leader, &OFFSETS.task.start)) {
            return;
        }
    }
    entry.store(SlotEntry::default());
    if let Some(slot) = slot {
        exited(slot);
    }
}

/// A function of its own in the kernel too, so that the BPF programs of `sched_switch` stay small.
#[inline(never)]
fn exited(slot: Slot) {
    end(slot, ProcessState::Exited);
}

/// Writes the end of a slot's tracked process, which is the running one.
#[inline(always)]
pub(super) fn end(slot: Slot, state: ProcessState) {
    let Some((tracked, exit)) = records(slot) else { return };
    // SAFETY: the helper has no preconditions.
    let process = Process::of(unsafe { bpf_get_current_task() });
    // SAFETY: both look-ups returned whole records, which user space reads only when the state is written.
    unsafe {
        (*exit).start = process.leader.map_or(0, |leader| read_u64(leader, &OFFSETS.task.start));
        process.write_accounting(&raw mut (*exit).accounting_at_end);
        if let ProcessState::Exited = state {
            (*exit).peak_pages = read_u64(process.signal, &OFFSETS.signal.peak_pages);
            (*exit).status = process.status();
        } else {
            (*exit).end = bpf_ktime_get_boot_ns();
            // The thread goes on, as that of another program.
            add_io_of_current(slot);
        }
        (&raw mut (*tracked).state).write_volatile(state as u64);
    }
    notify(EventKind::Ended, slot);
}
