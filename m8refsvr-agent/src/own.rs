//! What the machine has, what the agent costs, and what its kernel side tells of its own work.

use std::time::Duration;

use m8refsvr_common::record::Losses;
use rustix::{
    process::getpid,
    time::{ClockId, clock_gettime},
};

use crate::{
    figures::Machine,
    kernel::Kernel,
    observer::Observer,
    proc::{
        Proc,
        program::ProgramInfo,
        statm::Memory,
        system::{memory_bytes, online_cpus},
    },
    report::{Agent, Exports, Program},
};

/// What became of looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    /// How long the last one took.
    pub last: Duration,
    /// Due while another took too long.
    pub skipped: u64,
    /// At which /proc could not be read.
    pub failed: u64,
}

/// What the machine has, at this moment.
pub fn machine(observer: &Observer) -> Machine {
    Machine { memory_bytes: memory_bytes(observer.proc()), cpus: online_cpus() }
}

/// What the agent costs and lost, at this moment.
pub fn agent(observer: &Observer, looks: Looks, exports: Exports) -> Agent {
    let mut buffer = Vec::new();
    let this = u32::try_from(getpid().as_raw_nonzero().get())
        .ok()
        // The agent's own files, wherever the watched processes' are.
        .and_then(|pid| Proc::new("/proc").process(pid).ok());
    let programs = observer.kernel().map(Kernel::programs).unwrap_or_default();
    let programs = programs.into_iter().map(|(name, descriptor)| {
        let info = this.as_ref().and_then(|this| ProgramInfo::read(this, descriptor, &mut buffer).ok());
        Program { name, runs: info.and_then(|info| info.runs), missed: info.and_then(|info| info.missed) }
    });
    let programs = programs.collect();
    Agent {
        look: looks.last,
        skipped_looks: looks.skipped,
        failed_looks: looks.failed,
        cpu: Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default(),
        resident: this.and_then(|this| Some(Memory::read(&this, &mut buffer).ok()?.resident_bytes)),
        programs,
        slots: observer.kernel().map(Kernel::slots),
        losses: observer.kernel().map(|kernel| losses(&kernel.losses())).unwrap_or_default(),
        exports,
        corrections: observer.corrections(),
        unlisted: None,
        sources: observer.sources(),
    }
}

fn losses(losses: &Losses) -> Vec<(&'static str, u64)> {
    vec![
        ("no_free_slot", losses.no_free_slot),
        ("pid_out_of_range", losses.tgid_out_of_range),
        ("event", losses.events),
    ]
}
