//! The values of a set of processes at one collection: sums, extremes and totals, in the units that are exported.
//! Knows no names of metrics.

use std::time::Duration;

use crate::{
    model::{
        counters::{Account, Counter, Totals},
        limit_utilization::{Limit, LimitUtilization},
        sample::ProcessSample,
    },
    sys::boot_clock::{of_ticks, seconds},
};

/// The shortest time of which CPU time has a meaningful share: /proc counts it in ticks of 10 ms.
const SHORTEST: Duration = Duration::from_millis(50);

/// One value of a set of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// A total since the agent's start; CPU time in seconds.
    Total(Counter),
    /// User CPU time since the collection that was exported last, as a fraction of all CPUs of the machine.
    CpuUserShare,
    /// The same for CPU time in the kernel.
    CpuSystemShare,
    /// User and system CPU time since the collection that was exported last, in percent of one CPU.
    CpuPercent,
    Processes,
    /// Living threads.
    Threads,
    /// Threads of the process that has the fewest.
    ThreadsMin,
    /// Threads of the process that has the most.
    ThreadsMax,
    /// Threads per process.
    ThreadsMean,
    /// Open file descriptors.
    OpenFiles,
    /// Resident memory, bytes.
    Resident,
    /// Address space, bytes.
    Virtual,
    /// Resident memory as a fraction of the machine's.
    MemoryShare,
    /// The same in percent.
    MemoryPercent,
    /// Time since the oldest process started, seconds.
    Uptime,
    /// Used fraction of a limit, of the process that is nearest to it.
    Used(Limit),
}

impl Statistic {
    /// Whether it is a [`Value::Double`].
    pub fn is_float(self) -> bool {
        match self {
            Self::Total(counter) => counter.is_time(),
            Self::CpuUserShare
            | Self::CpuSystemShare
            | Self::CpuPercent
            | Self::ThreadsMean
            | Self::MemoryShare
            | Self::MemoryPercent
            | Self::Uptime
            | Self::Used(_) => true,
            Self::Processes
            | Self::Threads
            | Self::ThreadsMin
            | Self::ThreadsMax
            | Self::OpenFiles
            | Self::Resident
            | Self::Virtual => false,
        }
    }
}

/// A value as it is exported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count, or bytes.
    Int(u64),
    /// Seconds, a fraction or a percentage.
    Double(f64),
}

#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub memory_bytes: Option<u64>,
    /// CPUs that are online.
    pub cpus: Option<u64>,
}

/// The values of a set of processes.
#[derive(Clone, Debug)]
pub struct Aggregate {
    machine: Machine,
    totals: Totals,
    /// User and system CPU time since the collection that was exported last, in CPU seconds per second.
    cpu_time_share: Option<[f64; 2]>,
    /// `None` where there is none, but the agent may not see all.
    processes: Option<u64>,
    threads: Option<u64>,
    threads_min: Option<u64>,
    threads_max: Option<u64>,
    open_files: Option<u64>,
    resident: Option<u64>,
    virtual_bytes: Option<u64>,
    /// Seconds since the oldest process started.
    uptime: Option<f64>,
    /// The largest used fraction of each limit.
    limits_used: LimitUtilization,
}

/// What all sets of processes in one collection share.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Start of the collection in clock ticks after boot, as for the start of processes.
    pub began_ticks: u64,
    /// Time since the collection that was exported last.
    pub elapsed: Option<Duration>,
    pub machine: Machine,
    /// Whether there is a source of block I/O.
    pub has_block_io: bool,
    /// Whether /proc hides processes from the agent: then it can't be known that none matches.
    pub is_blind: bool,
}

impl Aggregate {
    /// The values of some processes and their totals. Without processes, sums are 0. A value that no process has is
    /// absent.
    pub fn of<'a>(
        processes: impl Iterator<Item = &'a ProcessSample> + Clone,
        account: &Account,
        moment: &Moment,
    ) -> Self {
        let sum = |statistic: fn(&ProcessSample) -> Option<u64>| {
            let mut known = processes.clone().map(statistic).peekable();
            let is_empty = known.peek().is_none();
            let sum = known
                .flatten()
                .fold(None, |sum: Option<u64>, value| Some(sum.unwrap_or_default().saturating_add(value)));
            sum.or((is_empty && !moment.is_blind).then_some(0))
        };
        let count = sum(|_| Some(1));
        // Not known where the agent may not see processes.
        let is_none = count == Some(0);
        let zero =
            |counter: Counter| (is_none && (moment.has_block_io || !counter.is_block_io())).then_some(0);
        let elapsed =
            moment.elapsed.filter(|&elapsed| elapsed >= SHORTEST).map(|elapsed| elapsed.as_secs_f64());
        let [user, system] = account.unexported_cpu;
        let cpu_time_share = |counter, used| {
            let used = account.now.get(counter).map(|_| used).or(zero(counter))?;
            Some(seconds(used) / elapsed?)
        };
        Self {
            machine: moment.machine,
            totals: Totals::of(|counter| account.now.get(counter).or(zero(counter))),
            cpu_time_share: cpu_time_share(Counter::CpuUser, user)
                .zip(cpu_time_share(Counter::CpuSystem, system))
                .map(<[f64; 2]>::from),
            processes: count,
            threads: sum(|process| Some(process.threads)),
            threads_min: processes.clone().map(|process| process.threads).min(),
            threads_max: processes.clone().map(|process| process.threads).max(),
            open_files: sum(|process| process.open_files),
            resident: sum(|process| process.resident_bytes),
            virtual_bytes: sum(|process| process.virtual_bytes),
            limits_used: LimitUtilization::worst(processes.clone().map(|process| process.limits_used)),
            // From clock ticks after boot: the system clock may be set.
            uptime: processes
                .clone()
                .map(|process| process.identity.start_ticks)
                .min()
                .map(|start| of_ticks(moment.began_ticks.saturating_sub(start)).as_secs_f64()),
        }
    }

    /// Whether there is nothing to export: no process, and no totals of exited ones.
    pub fn is_nothing(&self) -> bool {
        self.processes.unwrap_or_default() == 0
            && Counter::ALL.iter().all(|&counter| self.totals.get(counter).unwrap_or_default() == 0)
    }

    pub fn get(&self, statistic: Statistic) -> Option<Value> {
        let of_memory = |factor| Some(factor * float(self.resident?) / float(self.machine.memory_bytes?));
        let of_cpus = |cpu_time_share: f64| Some(cpu_time_share / float(self.machine.cpus?));
        match statistic {
            Statistic::Total(counter) if counter.is_time() => {
                self.totals.get(counter).map(|time| Value::Double(seconds(time)))
            }
            Statistic::Total(counter) => self.totals.get(counter).map(Value::Int),
            Statistic::CpuUserShare => of_cpus(self.cpu_time_share?[0]).map(Value::Double),
            Statistic::CpuSystemShare => of_cpus(self.cpu_time_share?[1]).map(Value::Double),
            Statistic::CpuPercent => {
                self.cpu_time_share.map(|[user, system]| Value::Double(100.0 * (user + system)))
            }
            Statistic::Processes => self.processes.map(Value::Int),
            Statistic::Threads => self.threads.map(Value::Int),
            Statistic::ThreadsMin => self.threads_min.map(Value::Int),
            Statistic::ThreadsMax => self.threads_max.map(Value::Int),
            Statistic::ThreadsMean => {
                let processes = self.processes.filter(|&processes| processes > 0)?;
                Some(Value::Double(float(self.threads?) / float(processes)))
            }
            Statistic::OpenFiles => self.open_files.map(Value::Int),
            Statistic::Resident => self.resident.map(Value::Int),
            Statistic::Virtual => self.virtual_bytes.map(Value::Int),
            Statistic::MemoryShare => of_memory(1.0).map(Value::Double),
            Statistic::MemoryPercent => of_memory(100.0).map(Value::Double),
            Statistic::Uptime => self.uptime.map(Value::Double),
            Statistic::Used(limit) => self.limits_used.get(limit).map(Value::Double),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory and numbers of threads are below 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}
