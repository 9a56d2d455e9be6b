//! Processes as they start, execute other programs, and end. A process that matches by its `comm` gets a slot here, so
//! that its first context switch counts; what the kernel's accounting has of it at its end is written to its slot.
//! User space is told where to look, and takes the slot back when it has seen it.

use core::ptr::NonNull;

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_comm, bpf_get_current_task, bpf_probe_read_kernel_str_bytes,
        generated::bpf_ktime_get_boot_ns,
    },
};
use m8refsvr_common::{
    accounting::{Accounting, IoAccounting},
    comm::{COMM_BYTES, MAX_NAMES, is_own, small, words},
    record::{Counts, EventKind, ExitRecord, OOM_VICTIM, ProcessRecord, ProcessState},
    slot::{UNDECIDED, first_counters, place_in, undecided_in},
};

use crate::maps::{
    EXITS, FREE_SLOTS, NAMES, PROCESSES, add, counts_at, current_tgid, element_of, lost, tell, tell_to_decide,
};
use crate::offsets::{OFFSETS, Offset, read, read_u32, read_u64};

/// `PF_KTHREAD` in a task's flags: a thread of the kernel. Source: `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// `SIGNAL_GROUP_EXIT` in a process's flags: it ends as a whole, by one code. Source: `include/linux/sched/signal.h`.
const SIGNAL_GROUP_EXIT: u32 = 0x4;

/// How many CPUs have counters.
#[unsafe(no_mangle)]
static CPUS: Global<u32> = Global::new(1);

/// Nanoseconds in a clock tick, as /proc tells when processes started.
#[unsafe(no_mangle)]
static TICK: Global<u64> = Global::new(10_000_000);

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
    // Beyond the table; the agent says so of those that match.
    let Some(element) = element_of(tgid) else {
        tell(EventKind::Undecided, tgid);
        return;
    };
    // SAFETY: the look-up returned a whole element.
    let now = unsafe { element.read_volatile() };
    let Ok(comm) = bpf_get_current_comm() else { return };
    let comm = words(comm);
    let is_match = matches(comm);
    let place = place_in(now);
    match (slot_at(place), is_match) {
        (0, true) => match free_slot() {
            Some(slot) => begin(slot, tgid, comm, element),
            None => found_none(tgid, element),
        },
        (0, false) => tell_to_decide(EventKind::Undecided, tgid, element),
        (slot, true) => {
            tell(EventKind::Tracked, slot);
        }
        (slot, false) => {
            add(element.as_ptr(), u64::from(place).wrapping_neg());
            over(slot, ProcessState::Deselected);
            tell_to_decide(EventKind::Undecided, tgid, element);
        }
    }
}

/// The running process, which has one thread and no slot yet, begins to match, and gets this one.
#[inline(always)]
fn begin(slot: u32, tgid: u32, comm: [u64; 2], element: NonNull<u64>) {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    hold(slot, tgid, task, comm, 0);
    let place = first_counters(slot, CPUS.load());
    let Some((target, life)) = records(slot) else { return };
    let process = Process::of(task);
    // SAFETY: both look-ups returned whole records, which this program alone writes to.
    unsafe {
        // Its other threads have ended.
        write_io_of_ended(&raw mut (*life).own, process.signal);
        // Giving up its memory has told of the peak of that.
        (*life).first_peak_pages = read_u64(process.signal, &OFFSETS.signal.peak_pages);
    }
    let before = switches_at(place);
    add(element.as_ptr(), place.into());
    // SAFETY: the look-up returned a whole element.
    if place_in(unsafe { element.read_volatile() }) != place {
        // User space gave it another at this very moment.
        add(element.as_ptr(), u64::from(place).wrapping_neg());
        return give_back(slot);
    }
    // From now on it counts, and what was before is in the offset.
    // SAFETY: as above.
    unsafe {
        let _ = process.write_first(&raw mut (*life).first, place, before)
            || process.write_first(&raw mut (*life).first, place, before)
            || process.write_first(&raw mut (*life).first, place, before);
        let Counts { voluntary, involuntary, .. } = &mut (*target).offset;
        *voluntary = voluntary.wrapping_add((*life).first.voluntary);
        *involuntary = involuntary.wrapping_add((*life).first.involuntary);
    }
    tell(EventKind::Tracked, slot);
}

/// The running process has a new child, which has not run yet, or a new thread.
#[inline(always)]
pub(crate) fn forked(child: u64) {
    let tgid = read_u32(child, &OFFSETS.task.tgid);
    if read_u32(child, &OFFSETS.task.pid) != tgid {
        return;
    }
    let parent_tgid = current_tgid();
    // Of a parent beyond the table nothing is known.
    // SAFETY: the look-up returned a whole element.
    let parent = element_of(parent_tgid).map_or(UNDECIDED, |parent| unsafe { parent.read_volatile() });
    let Some(element) = element_of(tgid) else {
        if parent != 0 {
            tell(EventKind::Undecided, tgid);
        }
        return;
    };
    // SAFETY: as above.
    let old = unsafe { element.read_volatile() };
    if old != 0 {
        // Of an earlier process with this id, of which the end was not seen.
        // SAFETY: as above.
        unsafe { element.write_volatile(0) };
        if place_in(old) != 0 {
            tell(EventKind::Ended, slot_at(place_in(old)));
        }
    }
    if place_in(parent) != 0 {
        let comm = words(read::<[u8; COMM_BYTES]>(child, &OFFSETS.task.comm).unwrap_or_default());
        let Some(slot) = free_slot() else { return found_none(tgid, element) };
        hold(slot, tgid, child, comm, parent_tgid);
        if let Some((_, life)) = records(slot) {
            // SAFETY: the look-up returned a whole record, which this program alone writes to.
            unsafe { (*life).first = Accounting::default() };
        }
        // SAFETY: the look-up returned a whole element.
        unsafe { element.write_volatile(first_counters(slot, CPUS.load()).into()) };
        tell(EventKind::Tracked, slot);
    } else if undecided_in(parent) != 0 {
        tell_to_decide(EventKind::Undecided, tgid, element);
    }
}

/// A thread gets another name.
#[inline(always)]
pub(crate) fn renamed(task: u64, comm: u64) {
    let tgid = read_u32(task, &OFFSETS.task.tgid);
    if read_u32(task, &OFFSETS.task.pid) != tgid || read_u32(task, &OFFSETS.task.flags) & PF_KTHREAD != 0 {
        return;
    }
    let Some(element) = element_of(tgid) else { return };
    // SAFETY: the look-up returned a whole element.
    let now = unsafe { element.read_volatile() };
    // What is behind the end of the name is not of it.
    let mut name = [0; COMM_BYTES];
    // SAFETY: the helper checks the address.
    if unsafe { bpf_probe_read_kernel_str_bytes(comm as *const u8, &mut name) }.is_err() {
        return;
    }
    let name = words(name);
    let is_match = matches(name);
    let is_watched = place_in(now) != 0;
    // What a process with one thread had until now is known here. Such is one that executes another program: it takes
    // that one's name a little before.
    if is_match
        && !is_watched
        && read_u32(read_u64(task, &OFFSETS.task.signal), &OFFSETS.signal.threads) == 1
        && let Some(slot) = free_slot()
    {
        return begin(slot, tgid, name, element);
    }
    // It may match now, or no more, or for another pattern.
    if is_match != is_watched || ANY_COMM.load() != 0 {
        tell_to_decide(EventKind::Undecided, tgid, element);
    }
}

/// A thread of the running process begins to exit. If it is the last, this is when the process ends: its parent, who
/// may start another in its place, is told next.
#[inline(always)]
pub(crate) fn thread_exits(place: u32) {
    if !OFFSETS.signal.live.is_known() {
        return;
    }
    if let Some((_, life)) = records(slot_at(place)) {
        // SAFETY: the look-up returned a whole record, and the helper has no preconditions.
        unsafe { (*life).end = bpf_ktime_get_boot_ns() };
    }
}

/// The running thread is on its last switch.
#[inline(always)]
pub(crate) fn thread_ended(place: u32) {
    if place != 0 && OFFSETS.signal.live.is_known() {
        add_own(slot_at(place));
    }
}

/// Adds what the kernel's accounting has of the running thread to what is kept of a slot's holder.
#[inline(never)]
fn add_own(slot: u32) {
    let Some((_, life)) = records(slot) else { return };
    // SAFETY: the look-up returned a whole record; the helper has no preconditions.
    unsafe { add_io_of_thread(&raw mut (*life).own, bpf_get_current_task()) };
}

/// No thread of the running process is between the beginning of its exit and its last switch, which is now.
#[inline(always)]
pub(crate) fn threads_ended(element: NonNull<u64>, place: u32) {
    if !OFFSETS.signal.live.is_known() {
        return;
    }
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let process = Process::of(task);
    if read_u32(process.signal, &OFFSETS.signal.live) != 0 {
        return;
    }
    // A thread is no longer alive a little before it says that it begins to exit (`do_exit` in `kernel/exit.c`): until
    // Linux 6.15 it gives up its memory in between. Its own last switch is still to come. Of a thread that is traced, the
    // kernel lets go only when the tracer has asked for it.
    let leader_ended = process.leader.is_some_and(|leader| read_u32(leader, &OFFSETS.task.exit_state) != 0);
    if read_u32(process.signal, &OFFSETS.signal.threads) > u32::from(leader_ended)
        && read_u32(task, &OFFSETS.task.ptrace) == 0
    {
        return;
    }
    if let (Some(leader), Some((target, _))) = (process.leader, records(slot_at(place))) {
        // The id may be another process's by now, and the slot.
        // SAFETY: the look-up returned a whole record.
        if unsafe { (*target).start_ticks } != ticks(read_u64(leader, &OFFSETS.task.start)) {
            return;
        }
    }
    // SAFETY: the look-up returned a whole element.
    unsafe { element.write_volatile(0) };
    if place != 0 {
        ended(slot_at(place));
    }
}

/// A function of its own in the kernel too, so that the programs of `sched_switch` stay small.
#[inline(never)]
fn ended(slot: u32) {
    over(slot, ProcessState::Exited);
}

/// The holder of a slot, which is the running process, is over.
#[inline(always)]
fn over(slot: u32, how: ProcessState) {
    let Some((target, life)) = records(slot) else { return };
    // SAFETY: the helper has no preconditions.
    let process = Process::of(unsafe { bpf_get_current_task() });
    // SAFETY: both look-ups returned whole records, of which user space reads only when the state is written.
    unsafe {
        (*life).start = process.leader.map_or(0, |leader| read_u64(leader, &OFFSETS.task.start));
        process.write_figures(&raw mut (*life).last);
        if let ProcessState::Exited = how {
            (*life).peak_pages = read_u64(process.signal, &OFFSETS.signal.peak_pages);
            (*life).status = process.status();
        } else {
            (*life).end = bpf_ktime_get_boot_ns();
            // The thread goes on, as another program's.
            add_own(slot);
        }
        (&raw mut (*target).state).write_volatile(how as u64);
    }
    tell(EventKind::Ended, slot);
}

/// Takes a free slot.
#[inline(always)]
fn free_slot() -> Option<u32> {
    FREE_SLOTS.pop().ok().flatten()
}

/// A process found no free slot, and is left to user space.
#[inline(always)]
fn found_none(tgid: u32, element: NonNull<u64>) {
    lost(|losses| &raw mut losses.no_free_slot);
    tell_to_decide(EventKind::NoFreeSlot, tgid, element);
}

/// Notes who holds a slot: a process of which `task` is a thread.
#[inline(always)]
fn hold(slot: u32, tgid: u32, task: u64, comm: [u64; 2], parent: u32) {
    let Some((target, life)) = records(slot) else { return };
    let start = read_u64(task, &OFFSETS.task.start);
    // SAFETY: both look-ups returned whole records, which are nobody else's while the slot is neither free nor found
    // in `SLOTS`.
    unsafe {
        (*target).tgid = tgid.into();
        (*target).start_ticks = ticks(start);
        (*target).parent = parent.into();
        (*target).comm = comm;
        (*life).start = start;
        (*life).end = 0;
        (*life).peak_pages = 0;
        (*life).first_peak_pages = 0;
        (*life).status = 0;
        (*life).own = IoAccounting::default();
        (&raw mut (*target).state).write_volatile(ProcessState::Living as u64);
    }
}

/// A slot that was taken needlessly is free again.
#[inline(always)]
fn give_back(slot: u32) {
    if let Some((target, _)) = records(slot) {
        // SAFETY: the look-up returned a whole record, of a slot that is nobody else's.
        unsafe { (&raw mut (*target).state).write_volatile(ProcessState::Free as u64) };
    }
    // There is room for all slots that there are.
    let _ = FREE_SLOTS.push(slot, 0);
}

/// As /proc tells times.
#[inline(always)]
fn ticks(nanoseconds: u64) -> u64 {
    nanoseconds.checked_div(TICK.load()).unwrap_or(0)
}

/// What the counters at a place have of switches on this CPU.
#[inline(always)]
fn switches_at(place: u32) -> (u64, u64) {
    match counts_at(place) {
        // SAFETY: the look-up returned a whole record.
        Some(counts) => unsafe { ((*counts.as_ptr()).voluntary, (*counts.as_ptr()).involuntary) },
        None => (0, 0),
    }
}

/// Who holds a slot, and its life.
#[inline(always)]
fn records(slot: u32) -> Option<(*mut ProcessRecord, *mut ExitRecord)> {
    let index = slot.wrapping_sub(1);
    Some((PROCESSES.get_ptr_mut(index)?, EXITS.get_ptr_mut(index)?))
}

/// The slot of which the counters begin at a place; 0 for none.
#[inline(always)]
fn slot_at(place: u32) -> u32 {
    place.checked_div(CPUS.load()).unwrap_or(0)
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

/// A process, by what its threads share.
struct Process {
    /// Its `signal_struct`, which lives as long as any of its threads runs.
    signal: u64,
    /// Its first thread, if the kernel has not let go of it.
    leader: Option<u64>,
}

impl Process {
    #[inline(always)]
    fn of(task: u64) -> Self {
        let signal = read_u64(task, &OFFSETS.task.signal);
        let leader = read_u64(task, &OFFSETS.task.group_leader);
        // The leader may be gone while another thread is on its last steps, and its memory another's.
        let is_ours = read_u64(leader, &OFFSETS.task.signal) == signal;
        Self { signal, leader: if is_ours { Some(leader) } else { None } }
    }

    /// Writes what it has: what those of its threads had of which the kernel has let go, and what its first thread has,
    /// the only one that can be left when this is called.
    ///
    /// # Safety
    /// `figures` is a record in a map that nobody else writes to.
    #[inline(always)]
    unsafe fn write_figures(&self, figures: *mut Accounting) {
        let leader = self.leader.unwrap_or(0);
        // SAFETY: the caller's. The kernel is at work on them for the time of some additions; there is no loop here, as
        // the verifier of Linux 5.10 refuses one that begins after a call.
        unsafe {
            let _ = write_figures_at_once(self.signal, leader, figures)
                || write_figures_at_once(self.signal, leader, figures)
                || write_figures_at_once(self.signal, leader, figures)
                || write_figures_at_once(self.signal, leader, figures);
        }
    }

    /// Writes what the running process had before its slot's counters began, at which they were `before` on this CPU; it
    /// has no other thread. Whether it did not switch meanwhile: from some kernel on, programs can be preempted, but go
    /// on on the same CPU.
    ///
    /// # Safety
    /// As of [`Self::write_figures`].
    #[inline(always)]
    unsafe fn write_first(&self, first: *mut Accounting, place: u32, before: (u64, u64)) -> bool {
        let counted = switches_at(place);
        // SAFETY: the caller's.
        unsafe {
            self.write_figures(first);
            (*first).voluntary = (*first).voluntary.wrapping_sub(counted.0.wrapping_sub(before.0));
            (*first).involuntary = (*first).involuntary.wrapping_sub(counted.1.wrapping_sub(before.1));
        }
        switches_at(place) == counted
    }

    /// How it ended, as `wait_task_zombie` (`kernel/exit.c`) has it, and whether for want of memory: the kernel then
    /// keeps hold of the memory of whom it chose (`mark_oom_victim` in `mm/oom_kill.c`).
    #[inline(always)]
    fn status(&self) -> u64 {
        let code = match self.leader {
            Some(leader) if read_u32(self.signal, &OFFSETS.signal.flags) & SIGNAL_GROUP_EXIT == 0 => {
                read_u32(leader, &OFFSETS.task.exit_code)
            }
            _ => read_u32(self.signal, &OFFSETS.signal.exit_code),
        };
        let is_victim = read_u64(self.signal, &OFFSETS.signal.oom_memory) != 0;
        u64::from(code & 0xffff) | if is_victim { OOM_VICTIM } else { 0 }
    }
}

/// Whether all figures are of one moment: `__exit_signal` (`kernel/exit.c`) adds a thread's figures to those of the
/// process, and takes it from the number of its threads, under a sequence lock.
///
/// # Safety
/// As of [`Process::write_figures`].
#[inline(never)]
unsafe fn write_figures_at_once(signal: u64, leader: u64, figures: *mut Accounting) -> bool {
    let sequence = read_u32(signal, &OFFSETS.signal.stats_lock);
    let leader = if read_u32(signal, &OFFSETS.signal.threads) == 0 { 0 } else { leader };
    // SAFETY: the caller's.
    unsafe { write_sums(figures, signal, leader) };
    sequence & 1 == 0 && read_u32(signal, &OFFSETS.signal.stats_lock) == sequence
}

/// The value of the threads that have ended and that of the leader, if there is one. Wraps.
#[inline(always)]
fn sum(signal: u64, of_ended: &Offset, leader: u64, of_leader: &Offset) -> u64 {
    let own = if leader == 0 { 0 } else { read_u64(leader, of_leader) };
    read_u64(signal, of_ended).wrapping_add(own)
}

/// Makes functions of the table of the kernel's accounting. They have no loop, which the verifier of Linux 5.10 would
/// refuse.
macro_rules! accounting_functions {
    (
        always { $($(#[$doc:meta])* $field:ident: $($task:ident).+, $($signal:ident).+;)+ }
        io { $($(#[$io_doc:meta])* $io_field:ident: $($io_task:ident).+, $($io_signal:ident).+;)+ }
    ) => {
        /// Writes each value, as the sum of that of the threads that have ended and that of the leader.
        ///
        /// # Safety
        /// As of [`Process::write_figures`].
        #[inline(always)]
        unsafe fn write_sums(figures: *mut Accounting, signal: u64, leader: u64) {
            let (ended, thread) = (&OFFSETS.signal_accounting, &OFFSETS.task_accounting);
            // SAFETY: the caller's.
            unsafe {
                $((*figures).$field = sum(signal, &ended.$field, leader, &thread.$field);)+
                $((*figures).$io_field = sum(signal, &ended.$io_field, leader, &thread.$io_field);)+
            }
        }

        /// Writes the I/O of the threads that have ended.
        ///
        /// # Safety
        /// `io` is part of a record in a map that nobody else writes to.
        #[inline(always)]
        unsafe fn write_io_of_ended(io: *mut IoAccounting, signal: u64) {
            // SAFETY: the caller's.
            unsafe { $((*io).$io_field = read_u64(signal, &OFFSETS.signal_accounting.$io_field);)+ }
        }

        /// Adds the I/O of a thread.
        ///
        /// # Safety
        /// `io` is part of a record in a map.
        #[inline(always)]
        unsafe fn add_io_of_thread(io: *mut IoAccounting, task: u64) {
            // SAFETY: the caller's.
            unsafe { $(add(&raw mut (*io).$io_field, read_u64(task, &OFFSETS.task_accounting.$io_field));)+ }
        }
    };
}

m8refsvr_common::accounting!(accounting_functions);
