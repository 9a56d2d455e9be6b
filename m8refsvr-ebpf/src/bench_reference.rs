//! BPF programs with which the benches compare ours: one that does nothing, which shows what measuring costs; the
//! straightforward design with hash maps; and an iterator over tasks, in place of files of /proc. None is in a release
//! object.

#![no_std]
#![no_main]

mod panic;

use core::ffi::c_void;

use aya_ebpf::{
    bindings::seq_file,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel, generated::bpf_seq_write},
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap, PerCpuHashMap},
    programs::RawTracePointContext,
};
use m8refsvr_common::context_switch::Switch;

#[map]
static TRACKED: HashMap<u32, u32> = HashMap::with_max_entries(4096, 0);

#[map]
static SWITCHES: PerCpuHashMap<u32, [u64; 2]> = PerCpuHashMap::with_max_entries(4096, 0);

#[raw_tracepoint(tracepoint = "sched_switch")]
fn empty(_context: RawTracePointContext) -> u32 {
    0
}

#[raw_tracepoint(tracepoint = "sched_switch")]
fn hash(context: RawTracePointContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: nothing is removed from the map while the BPF programs run.
    if unsafe { TRACKED.get(tgid) }.is_none() {
        return 0;
    }
    let Some(switches) = SWITCHES.get_ptr_mut(tgid) else { return 0 };
    let kind = Switch::from_task(context.arg::<u64>(0) != 0, context.arg(3));
    // SAFETY: the look-up returned a whole element, of this CPU alone.
    unsafe {
        match kind {
            Some(Switch::Voluntary) => (*switches)[0] += 1,
            Some(Switch::Involuntary) => (*switches)[1] += 1,
            None => {}
        }
    }
    0
}

/// How many numbers of a task the iterator writes.
const NUMBERS: usize = 12;

/// Their offsets in `task_struct`, which user space sets.
#[map]
static OFFSETS: Array<u32> = Array::with_max_entries(NUMBERS as u32, 0);

/// What the kernel passes to a program of `iter/task`: `struct bpf_iter__task`, and of its first member the first.
#[repr(C)]
struct IteratorContext {
    meta: *const *mut seq_file,
    task: *const c_void,
}

/// Writes some numbers of each task of the machine.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
fn tasks(context: *const IteratorContext) -> i32 {
    // SAFETY: the kernel passes such a context, with no task at the end.
    let (meta, task) = unsafe { ((*context).meta, (*context).task) };
    if task.is_null() {
        return 0;
    }
    let mut numbers = [0_u64; NUMBERS];
    for (at, number) in numbers.iter_mut().enumerate() {
        let Some(&offset) = OFFSETS.get(at as u32) else { return 0 };
        // SAFETY: the helper checks the address.
        *number = unsafe { bpf_probe_read_kernel(task.byte_add(offset as usize).cast()) }.unwrap_or(0);
    }
    // SAFETY: the numbers have that length, and the file is the kernel's.
    unsafe { bpf_seq_write(*meta, numbers.as_ptr().cast(), size_of_val(&numbers) as u32) };
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
