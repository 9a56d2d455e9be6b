//! Where BPF programs are attached, and what can go wrong there.

use m8refsvr_common::signal::Variant;

/// What it means that the kernel can skip a program, and what to do about it.
pub const SKIPPED: &str = "this kernel skips a program while another thread is preempted in it, so that single \
    requests of block I/O, or the end of a process, can be missing: give the agent classic tracepoints, by a tracefs that \
    it can read (mount -t tracefs tracefs /sys/kernel/tracing) and, on Debian and Ubuntu, by `sysctl \
    kernel.perf_event_paranoid=2`";

/// A tracepoint with a BPF program attached to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The tracepoint.
    pub tracepoint: &'static str,
    /// The program.
    pub program: &'static str,
    /// How it is attached.
    pub variant: Variant,
}

impl Hook {
    /// Whether a thread can be preempted in the program, where the kernel allows that at raw tracepoints at all.
    pub(crate) fn is_preemptible(&self) -> bool {
        // The scheduler has preemption off there, and a missed name is found by a collection.
        const SAFE: [&str; 3] = ["sched_switch", "sched_wakeup_new", "task_rename"];
        self.variant == Variant::RawTracepoint && !SAFE.contains(&self.tracepoint)
    }
}
