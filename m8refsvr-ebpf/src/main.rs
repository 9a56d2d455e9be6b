//! The BPF programs of m8refsvr: entry points and nothing else. Each unpacks its variant of a tracepoint; what is done
//! with it stands once, in `sched`, `block` and `lifecycle`.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod block;
mod lifecycle;
mod maps;
mod offsets;
mod panic;
mod sched;

use aya_ebpf::{
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

/// `sched_switch(preempt, prev, next, prev_state)`, from Linux 5.18 on.
#[raw_tracepoint(tracepoint = "sched_switch")]
fn sched_switch(context: RawTracePointContext) -> u32 {
    sched::switched_with_state(&context);
    0
}

/// `sched_switch(preempt, prev, next)`, before Linux 5.18.
#[raw_tracepoint(tracepoint = "sched_switch")]
fn sched_switch_current(context: RawTracePointContext) -> u32 {
    sched::switched_with_current(&context);
    0
}

/// The same, before Linux 5.11.
#[raw_tracepoint(tracepoint = "sched_switch")]
fn sched_switch_task(context: RawTracePointContext) -> u32 {
    sched::switched_with_task(&context);
    0
}

/// The classic tracepoint, for kernels without BTF.
#[tracepoint(category = "sched", name = "sched_switch")]
fn sched_switch_classic(context: TracePointContext) -> u32 {
    sched::switched_with_record(&context);
    0
}

/// `sched_process_exit`: a thread begins to exit. It runs on the thread, and passes nothing that is needed.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn thread_exit(_context: RawTracePointContext) -> u32 {
    lifecycle::exit::thread_exits();
    0
}

/// As [`thread_exit`], by the classic tracepoint.
#[tracepoint(category = "sched", name = "sched_process_exit")]
fn thread_exit_classic(_context: TracePointContext) -> u32 {
    lifecycle::exit::thread_exits();
    0
}

/// `sched_process_exec(task, old_pid, bprm)`: the running process executes another program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(_context: RawTracePointContext) -> u32 {
    lifecycle::start::executed();
    0
}

/// As [`process_exec`], by the classic tracepoint.
#[tracepoint(category = "sched", name = "sched_process_exec")]
fn process_exec_classic(_context: TracePointContext) -> u32 {
    lifecycle::start::executed();
    0
}

/// `sched_wakeup_new(task)`: the running process has forked a child, or a thread, which is put into a queue for the
/// first time. `sched_process_fork` comes a little before, but with preemption on.
#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
fn process_fork(context: RawTracePointContext) -> u32 {
    lifecycle::start::forked(context.arg(0));
    0
}

/// `task_rename(task, comm)`: a thread, or a process by its first thread, gets another name.
#[raw_tracepoint(tracepoint = "task_rename")]
fn process_rename(context: RawTracePointContext) -> u32 {
    lifecycle::start::renamed(context.arg(0), context.arg(1));
    0
}

/// A request was made for a bio: `block_getrq(bio)`, from Linux 5.11 on.
#[raw_tracepoint(tracepoint = "block_getrq")]
fn block_getrq(context: RawTracePointContext) -> u32 {
    block::requested(block::Bio(context.arg(0)));
    0
}

/// A bio was added to a request: `block_bio_{back,front}merge(bio)`, from Linux 5.11 on.
#[raw_tracepoint(tracepoint = "block_bio_backmerge")]
fn block_merge(context: RawTracePointContext) -> u32 {
    block::merged(block::Bio(context.arg(0)));
    0
}

/// `block_getrq(queue, bio, rw)`, before Linux 5.11.
#[raw_tracepoint(tracepoint = "block_getrq")]
fn block_getrq_queue(context: RawTracePointContext) -> u32 {
    block::requested(block::Bio(context.arg(1)));
    0
}

/// `block_bio_{back,front}merge(queue, request, bio)`, before Linux 5.11.
#[raw_tracepoint(tracepoint = "block_bio_backmerge")]
fn block_merge_queue(context: RawTracePointContext) -> u32 {
    block::merged(block::Bio(context.arg(2)));
    0
}

/// As [`block_getrq`], by the classic tracepoint.
#[tracepoint(category = "block", name = "block_getrq")]
fn block_getrq_classic(context: TracePointContext) -> u32 {
    block::requested(block::Record::of(&context));
    0
}

/// As [`block_merge`], by the classic tracepoints.
#[tracepoint(category = "block", name = "block_bio_backmerge")]
fn block_merge_classic(context: TracePointContext) -> u32 {
    block::merged(block::Record::of(&context));
    0
}

/// Some of the helper functions are open to programs under the GPL alone.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
