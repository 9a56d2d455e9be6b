//! Context switches. At `sched_switch` the running task is still the one that leaves the CPU, so nothing of a
//! task needs to be read to know whose switch it is.

use core::{ffi::c_void, ptr::read_volatile};

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_task, generated::bpf_get_current_task_btf},
    programs::{RawTracePointContext, TracePointContext},
};
use m8refsvr_common::context_switch::{PF_EXITING, Switch};

use crate::{
    lifecycle::exit::thread_exited,
    maps::TrackedProcess,
    offsets::{OFFSETS, Offset, read},
};

/// The kernel passes whether it preempts, and the state in which the task leaves. Linux 5.18 and later.
#[inline(always)]
pub(crate) fn switched_with_state(context: &RawTracePointContext) {
    let Some(tracked) = TrackedProcess::current() else { return };
    if tracked.has_notes() {
        return while_exiting_with_state(context.as_ptr());
    }
    count(tracked, Switch::from_task(context.arg::<u64>(0) != 0, context.arg(3)));
}

/// A function of its own in the kernel too, so that the registers it needs do not burden the usual way.
#[inline(never)]
fn while_exiting_with_state(context: *mut c_void) {
    let context = RawTracePointContext::new(context);
    let task = Trusted::current();
    while_exiting(context.arg::<u64>(0) != 0, context.arg(3), || task.is_reaped());
}

/// The kernel passes no state: it is read from the running task, which is still the one that leaves. Linux 5.11 and
/// later.
#[inline(always)]
pub(crate) fn switched_with_current(context: &RawTracePointContext) {
    let Some(tracked) = TrackedProcess::current() else { return };
    if tracked.has_notes() {
        return while_exiting_with_current(context.as_ptr());
    }
    let state = Trusted::current().read::<u32>(&OFFSETS.task.state);
    count(tracked, Switch::from_task(context.arg::<u64>(0) != 0, state.into()));
}

#[inline(never)]
fn while_exiting_with_current(context: *mut c_void) {
    let context = RawTracePointContext::new(context);
    let task = Trusted::current();
    let state = task.read::<u32>(&OFFSETS.task.state);
    while_exiting(context.arg::<u64>(0) != 0, state.into(), || task.is_reaped());
}

/// The kernel passes the task only: its state is read from there by a helper.
#[inline(always)]
pub(crate) fn switched_with_task(context: &RawTracePointContext) {
    let Some(tracked) = TrackedProcess::current() else { return };
    let task: u64 = context.arg(1);
    let Some(state) = read::<u32>(task, &OFFSETS.task.state) else { return };
    let preempt = context.arg::<u64>(0) != 0;
    if tracked.has_notes() {
        return while_exiting(preempt, state.into(), || is_reaped(task));
    }
    count(tracked, Switch::from_task(preempt, state.into()));
}

/// The kernel passes a record made for people: preemption is a bit of the state, and a thread that has exited has a
/// state of its own, unless it is preempted.
#[inline(always)]
pub(crate) fn switched_with_record(context: &TracePointContext) {
    let Some(tracked) = TrackedProcess::current() else { return };
    // SAFETY: the helper checks the address.
    let state = unsafe { context.read_at::<u32>(OFFSETS.switch_record.prev_state.load() as usize) };
    let Ok(state) = state else { return };
    let kind = Switch::from_reported(state);
    if tracked.has_notes() {
        // SAFETY: the helper has no preconditions.
        let task = unsafe { bpf_get_current_task() };
        // Most threads are reaped before their last switch. Without the offset of `sighand`, all are taken for reaped.
        return match kind {
            None => last_switch(tracked, || !OFFSETS.task.sighand.is_known() || is_reaped(task)),
            Some(Switch::Involuntary) if is_reaped(task) => {}
            Some(_) => count(tracked, kind),
        };
    }
    count(tracked, kind);
}

/// A switch of a process of which threads are exiting: what a thread does after it was reaped is not counted.
#[inline(always)]
fn while_exiting(preempt: bool, state: u64, is_reaped: impl FnOnce() -> bool) {
    let Some(tracked) = TrackedProcess::current() else { return };
    let kind = Switch::from_task(preempt, state);
    if kind.is_none() {
        last_switch(tracked, is_reaped);
    } else if !Switch::can_be_reaped(preempt, state) || !is_reaped() {
        count(tracked, kind);
    }
}

/// The last switch of a thread that has exited. Most threads are reaped by then. A thread group leader is reaped only
/// when its parent waits for it.
#[inline(always)]
fn last_switch(tracked: TrackedProcess, is_reaped: impl FnOnce() -> bool) {
    if !is_reaped() {
        count(tracked, Some(Switch::Voluntary));
    }
    thread_exited();
}

/// Whether the task was reaped, so that the kernel has already added its accounting to that of its process: both happen
/// under one lock in `__exit_signal` (`kernel/exit.c`), which sets the task's `sighand` to null at its end.
#[inline(always)]
fn is_reaped(task: u64) -> bool {
    read::<u64>(task, &OFFSETS.task.sighand) == Some(0)
}

/// The running task, by a pointer that the verifier trusts, so that no helper is called to read from it (Linux 5.11
/// and later).
struct Trusted(u64);

impl Trusted {
    #[inline(always)]
    fn current() -> Self {
        // SAFETY: the helper has no preconditions.
        Self(unsafe { bpf_get_current_task_btf() } as u64)
    }

    #[inline(always)]
    fn read<T>(&self, member: &Offset) -> T {
        let field = (self.0 + u64::from(member.load())) as *const T;
        // SAFETY: the verifier knows that there is a task, and checks that a field lies at the offset.
        unsafe { read_volatile(field) }
    }

    /// As [`is_reaped`]; first by the task's flags, which the scheduler has just used.
    #[inline(always)]
    fn is_reaped(&self) -> bool {
        self.read::<u32>(&OFFSETS.task.flags) & PF_EXITING != 0
            && self.read::<u64>(&OFFSETS.task.sighand) == 0
    }
}

/// Counts a switch of a tracked process; `None` is one that the kernel's accounting leaves out.
///
/// The hook runs with interrupts off, and nothing else writes to these two counters of this CPU: plain additions lose
/// nothing.
#[inline(always)]
fn count(tracked: TrackedProcess, kind: Option<Switch>) {
    let Some(counts) = tracked.counts() else { return };
    let counts = counts.as_ptr();
    match kind {
        // SAFETY: the look-up returned a whole record.
        Some(Switch::Voluntary) => unsafe { (*counts).voluntary += 1 },
        // SAFETY: as above.
        Some(Switch::Involuntary) => unsafe { (*counts).involuntary += 1 },
        None => {}
    }
    #[cfg(feature = "log")]
    aya_log_ebpf::trace!(
        (),
        "process {}: voluntary {}",
        crate::maps::current_tgid().0,
        u32::from(kind == Some(Switch::Voluntary))
    );
}
