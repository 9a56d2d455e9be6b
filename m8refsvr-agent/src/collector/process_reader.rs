//! Reads the values of one tracked process: what the BPF programs counted, and what /proc has.

use std::{sync::Arc, time::Instant};

use m8refsvr_common::record::Counts;

use crate::{
    bpf::{Kernel, Switches},
    collector::fd_budget::FdBudget,
    model::{
        counters::{OriginKind, Readings, Totals},
        limit_utilization::LimitUtilization,
        missing::{Reason, Values},
        sample::ProcessSample,
        source::{Source, Sources},
    },
    proc::{
        Proc, Process, Unreadable, fd,
        process_attributes::{AttributeSet, ProcessAttributes},
        stat::Stat,
        statm::Memory,
        switches::ThreadSwitches,
    },
    sys::boot_clock::{Boot, of_ticks},
    tracker::{
        TrackedProcess,
        idle::CachedReading,
        limit_cache::{CachedLimits, LimitCache, ProcessLimits},
        storage_io,
    },
};

/// Reads the values of processes.
pub(super) struct ProcessReader<'a> {
    pub(super) proc: &'a Proc,
    pub(super) kernel: Option<&'a Kernel>,
    pub(super) sources: Sources,
    pub(super) boot: Boot,
    pub(super) limit_cache: &'a mut LimitCache,
    pub(super) budget: &'a mut FdBudget,
    pub(super) attributes: AttributeSet,
    pub(super) cgroup: &'a mut Option<Arc<str>>,
    pub(super) buffer: &'a mut Vec<u8>,
}

impl ProcessReader<'_> {
    /// Reads all values of a process, and keeps its files open if the budget allows.
    pub(super) fn read(
        &mut self,
        tracked: &mut TrackedProcess,
        missing: &mut Missing,
    ) -> Result<(ProcessSample, ProcessLimits), Unreadable> {
        let mut process = match tracked.held.take() {
            Some(process) => process,
            None => self.budget.hold(self.proc.process(tracked.identity.pid)?),
        };
        let outcome = self.values_of(tracked, &mut process, missing);
        if process.is_kept() && outcome.is_ok() {
            tracked.held = Some(process);
        }
        outcome
    }

    fn values_of(
        &mut self,
        tracked: &mut TrackedProcess,
        process: &mut Process,
        missing: &mut Missing,
    ) -> Result<(ProcessSample, ProcessLimits), Unreadable> {
        let identity = tracked.identity;
        // The BPF programs' counters come first: what happens during the reading belongs to the next collection.
        let counted = self.counted(tracked, missing);
        let is_counted = self.sources.context_switches != Source::Procfs;
        let of_kernel = counted.filter(|_| is_counted).map(|counts| Switches::from(&counts));
        let switches = if is_counted { of_kernel } else { self.switches(process, missing) };
        let (at, cached) = match tracked.activity.begin_collection(process, of_kernel.map(Switches::all)) {
            Some(cached) => (Instant::now(), cached),
            None => self.read_active(tracked, process, missing)?,
        };
        if tracked.activity.is_idle_for_long() {
            process.set_idle();
        }
        let CachedReading { stat, io } = cached;
        let shared = self.shared(&mut tracked.limits, process, stat.has_no_leader(), missing)?;
        if self.attributes != AttributeSet::None && tracked.attributes.is_none() {
            tracked.attributes = Some(self.describe(tracked, process, &stat)?);
        }
        let sample = ProcessSample {
            identity,
            name: tracked.name.clone(),
            executable: tracked.executable.clone(),
            attributes: tracked.attributes.clone(),
            group: tracked.group,
            has_parent: tracked.has_parent(),
            at,
            started: self.boot.time(of_ticks(identity.start_ticks)),
            counters: Totals::read(Readings {
                stat: Some(&stat),
                io: io.as_ref(),
                switches: switches.as_ref(),
                block_io: counted.as_ref().filter(|_| self.sources.block_io != Source::None),
            }),
            // An exited thread group leader is counted until the process exits.
            threads: stat.threads - u64::from(stat.has_no_leader()),
            resident_bytes: shared.memory.map(|memory| memory.resident_bytes),
            virtual_bytes: shared.memory.map(|memory| memory.virtual_bytes),
            open_files: shared.open_files,
            first: tracked.first,
            limits_used: LimitUtilization::default(),
        };
        Ok((sample, shared.limits))
    }

    /// Reads what describes a process.
    fn describe(
        &mut self,
        tracked: &mut TrackedProcess,
        process: &Process,
        stat: &Stat,
    ) -> Result<Arc<ProcessAttributes>, Unreadable> {
        let invocation = tracked.invocation.as_deref().cloned();
        let mut attributes =
            ProcessAttributes::read(process, stat, invocation, self.attributes, self.buffer)?;
        tracked.invocation = None;
        if attributes.cgroup == *self.cgroup {
            attributes.cgroup.clone_from(self.cgroup);
        }
        self.cgroup.clone_from(&attributes.cgroup);
        Ok(Arc::new(attributes))
    }

    /// The context switches of its living threads, where no BPF program counts them.
    fn switches(&mut self, process: &Process, missing: &mut Missing) -> Option<Switches> {
        let read = ThreadSwitches::read(process, self.buffer);
        let read = missing.unless(Values::Counters(OriginKind::Switches), read)?;
        Some(Switches { voluntary: read.voluntary, involuntary: read.involuntary })
    }

    /// Reads those values of a process that only change while it runs, and the time of the reading.
    fn read_active(
        &mut self,
        tracked: &mut TrackedProcess,
        process: &mut Process,
        missing: &mut Missing,
    ) -> Result<(Instant, CachedReading), Unreadable> {
        self.budget.wake(process);
        tracked.is_stale = false;
        let in_kernel = self.kernel.zip(tracked.slot.as_ref().ok());
        let io = storage_io::read(process, tracked.io_baseline, in_kernel, self.buffer);
        let io = missing.unless(Values::Counters(OriginKind::Io), io);
        let at = Instant::now();
        let stat = Stat::read(process, self.buffer)?;
        if stat.is_zombie() || stat.start_ticks != tracked.identity.start_ticks {
            return Err(Unreadable::Gone);
        }
        let cached = CachedReading { stat, io };
        tracked.activity.keep(cached);
        Ok((at, cached))
    }

    /// Reads what all threads share. /proc has it with the thread group leader, and with another thread once the leader
    /// has exited.
    fn shared(
        &mut self,
        cached: &mut CachedLimits,
        process: &Process,
        has_no_leader: bool,
        missing: &mut Missing,
    ) -> Result<Shared, Unreadable> {
        let thread = if has_no_leader { process.living_thread(self.buffer) } else { None };
        if has_no_leader && thread.is_none() {
            missing.add(Values::Memory, Reason::NoLeader);
            missing.add(Values::OpenFiles, Reason::NoLeader);
            return Ok(Shared::default());
        }
        let thread_or_process = thread.as_ref().unwrap_or(process);
        let memory = Memory::read(thread_or_process, self.buffer);
        if let (Err(reason @ (Unreadable::Gone | Unreadable::Exhausted)), None) = (memory, &thread) {
            return Err(reason);
        }
        Ok(Shared {
            memory: missing.unless(Values::Memory, memory),
            open_files: missing.unless(Values::OpenFiles, fd::count(thread_or_process)),
            limits: self.limit_cache.limits(cached, process, thread.as_ref(), self.buffer),
        })
    }

    /// The counters of the BPF programs for a process.
    fn counted(&self, tracked: &TrackedProcess, missing: &mut Missing) -> Option<Counts> {
        let kernel = self.kernel?;
        match &tracked.slot {
            Ok(handle) => Some(kernel.totals(handle)),
            Err(reason) => {
                if self.sources.context_switches != Source::Procfs {
                    missing.add(Values::Counters(OriginKind::Switches), *reason);
                }
                if self.sources.block_io != Source::None {
                    missing.add(Values::Counters(OriginKind::BlockIo), *reason);
                }
                None
            }
        }
    }
}

/// What all threads of a process share.
#[derive(Default)]
struct Shared {
    memory: Option<Memory>,
    open_files: Option<u64>,
    limits: ProcessLimits,
}

/// The values of one process that could not be read, and why.
#[derive(Default)]
pub(super) struct Missing(pub(super) Vec<(Values, Reason)>);

impl Missing {
    fn add(&mut self, values: Values, reason: impl Into<Reason>) {
        self.0.push((values, reason.into()));
    }

    /// The value that was read. Otherwise it is missing.
    fn unless<T>(&mut self, values: Values, read: Result<T, Unreadable>) -> Option<T> {
        read.map_err(|reason| self.add(values, reason)).ok()
    }
}
