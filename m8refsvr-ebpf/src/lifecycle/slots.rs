//! The records of a slot: what is written when a process gets it, and when it is given back unused.

use aya_ebpf::helpers::bpf_get_current_task;
use m8refsvr_common::{
    accounting::IoAccounting,
    record::ProcessState,
    slot::{Slot, Tgid},
};

use super::{accounting::add_io_of_thread, task::ticks};
use crate::{
    maps::{put_free_slot, records},
    offsets::{OFFSETS, read_u64},
};

/// Writes which process has a slot: one of which `task` is a thread.
#[inline(always)]
pub(super) fn assign(slot: Slot, tgid: Tgid, task: u64, comm: [u64; 2], parent: Option<Tgid>) {
    let Some((tracked, exit)) = records(slot) else { return };
    let start = read_u64(task, &OFFSETS.task.start);
    // SAFETY: both look-ups returned whole records, which nobody else uses while the slot is neither free nor found
    // in `SLOTS`.
    unsafe {
        (*tracked).tgid = tgid.0.into();
        (*tracked).start_ticks = ticks(start);
        (*tracked).parent = parent.map_or(0, |parent| parent.0.into());
        (*tracked).comm = comm;
        (*exit).start = start;
        (*exit).end = 0;
        (*exit).peak_pages = 0;
        (*exit).peak_pages_at_start = 0;
        (*exit).status = 0;
        (*exit).own_io = IoAccounting::default();
        (&raw mut (*tracked).state).write_volatile(ProcessState::Living as u64);
    }
}

/// Gives back a slot that was taken needlessly.
#[inline(always)]
pub(super) fn give_back(slot: Slot) {
    if let Some((tracked, _)) = records(slot) {
        // SAFETY: the look-up returned a whole record, of a slot that no process has.
        unsafe { (&raw mut (*tracked).state).write_volatile(ProcessState::Free as u64) };
    }
    put_free_slot(slot);
}

/// Adds the I/O of the running thread to that of the exited threads of a slot's process.
#[inline(never)]
pub(super) fn add_io_of_current(slot: Slot) {
    let Some((_, exit)) = records(slot) else { return };
    // SAFETY: the look-up returned a whole record; the helper has no preconditions.
    unsafe { add_io_of_thread(&raw mut (*exit).own_io, bpf_get_current_task()) };
}
