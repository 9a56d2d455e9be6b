//! What `cargo xtask bench hooks` puts beside the programs of m8refsvr: a program that does nothing, which shows
//! what measuring costs, and the straightforward design with hash maps. Neither is in a release object.

#![no_std]
#![no_main]

mod panic;

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{map, raw_tracepoint},
    maps::{HashMap, PerCpuHashMap},
    programs::RawTracePointContext,
};
use m8refsvr_common::switch::Switch;

#[map]
static WATCHED: HashMap<u32, u32> = HashMap::with_max_entries(4096, 0);

#[map]
static SWITCHES: PerCpuHashMap<u32, [u64; 2]> = PerCpuHashMap::with_max_entries(4096, 0);

#[raw_tracepoint(tracepoint = "sched_switch")]
fn empty(_context: RawTracePointContext) -> u32 {
    0
}

#[raw_tracepoint(tracepoint = "sched_switch")]
fn hash(context: RawTracePointContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: nothing is removed from the map while the programs run.
    if unsafe { WATCHED.get(tgid) }.is_none() {
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

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
