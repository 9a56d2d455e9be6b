//! One look: what the kernel counted and what /proc shows of every matching process, side by side, at one moment.
//! Knows no names of metrics on the wire and no way out.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use m8refsvr_common::record::Counts;
use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};

use crate::{
    absence::{Absences, Reason},
    kernel::{Kernel, NotWatched, Snapshot, Switches, Watch},
    proc::{
        Proc, Process, Unreadable, fd,
        identity::Names,
        io::StorageIo,
        stat::{Stat, of_ticks},
        switches::ThreadSwitches,
    },
    selector::Selector,
    source::{Source, Sources},
};

/// The figures of block I/O, by their names in the document.
pub(crate) const BLOCK_FIGURES: &[&str] =
    &["block_read_bytes", "block_write_bytes", "block_read_operations", "block_write_operations"];

/// A process for ever: its id may come again, not with the same start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// Start in clock ticks after boot.
    pub start_ticks: u64,
}

/// One look at all matching processes, by process id.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it ended.
    pub at: SystemTime,
    /// When it began, in clock ticks after boot: what started later was not there.
    pub began_ticks: u64,
    /// When it began.
    pub began: Instant,
    /// The processes.
    pub processes: Vec<ProcessSample>,
    /// What could not be read of them.
    pub absences: Absences,
}

/// What was seen of one process.
#[derive(Clone, Debug)]
pub struct ProcessSample {
    /// Which process.
    pub identity: Identity,
    /// Its name, as to be shown.
    pub name: String,
    /// File name of its executable; `None` without the right to know it.
    pub executable: Option<String>,
    /// The pattern that selected it, by its place.
    pub group: usize,
    /// When its times were read.
    pub at: Instant,
    /// When it started.
    pub started: SystemTime,
    /// CPU time in user mode.
    pub cpu_user: Duration,
    /// CPU time in the kernel.
    pub cpu_system: Duration,
    /// Living threads.
    pub threads: u64,
    /// Page faults without input.
    pub minor_faults: u64,
    /// Page faults with input.
    pub major_faults: u64,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, bytes.
    pub virtual_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// Bytes moved to and from storage.
    pub storage: Option<StorageIo>,
    /// Context switches since it started, or what of it could be seen.
    pub switches: Option<Switches>,
    /// Block I/O since it is watched; only the block fields mean anything.
    pub block: Option<Counts>,
}

/// Looks at the matching processes, again and again.
#[derive(Debug)]
pub struct Observer {
    proc: Proc,
    selector: Selector,
    kernel: Option<Kernel>,
    /// The processes of the last look that the kernel was asked to count for.
    known: HashMap<Identity, Result<Watch, NotWatched>>,
    own_pid: u32,
    /// Start of the machine; taken once, so that the start of a process never moves.
    booted: SystemTime,
    buffer: Vec<u8>,
}

impl Observer {
    /// Looks at what `selector` selects in `proc`, with the kernel's counts if there are any.
    pub fn new(proc: Proc, selector: Selector, kernel: Option<Kernel>) -> Self {
        let own_pid = fs::read_link(proc.root().join("self"))
            .ok()
            .and_then(|pid| pid.to_str()?.parse().ok())
            .unwrap_or_else(std::process::id);
        Self { proc, selector, kernel, known: HashMap::new(), own_pid, booted: booted(), buffer: Vec::new() }
    }

    /// Where figures come from.
    pub fn sources(&self) -> Sources {
        let forms = self.kernel.as_ref().map(Kernel::forms);
        Sources {
            context_switches: forms
                .map_or(Source::Procfs, |forms| Source::of(forms.context_switches, Source::Procfs)),
            block_io: forms.map_or(Source::None, |forms| Source::of(forms.block_io, Source::None)),
        }
    }

    /// The kernel's side.
    pub fn kernel(&self) -> Option<&Kernel> {
        self.kernel.as_ref()
    }

    /// What selects the processes.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The processes it looks at.
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// The maps at this moment, if there are any.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.kernel.as_ref().map(Kernel::snapshot)
    }

    /// One look. An error when /proc as a whole can't be read, or this process has no descriptors or memory left.
    pub fn look(&mut self) -> io::Result<Sample> {
        let began = Instant::now();
        let began_ticks = ticks(since_boot());
        let mut absences = Absences::default();
        let mut pids = self.proc.pids()?;
        pids.sort_unstable();
        if self.proc.hides_processes() {
            absences.hidden_by_mount();
        }
        let mut matches = Vec::new();
        for pid in pids {
            match self.find(pid) {
                Ok(found) => matches.extend(found),
                Err(Unreadable::Gone) => {}
                Err(Unreadable::Exhausted) => return Err(exhausted()),
                Err(Unreadable::Denied | Unreadable::Unknown) => absences.hide(),
            }
        }
        // First, so that the slots of those that have ended are free for those that have come.
        self.forget_all_but(&matches);
        let mut processes = Vec::with_capacity(matches.len());
        for found in matches {
            let mut missing = Missing::default();
            match self.figures(found, &mut missing) {
                Ok(process) => processes.push(process),
                // Only now is it clear that it was not incomplete, but gone.
                Err(Unreadable::Gone) => continue,
                Err(Unreadable::Exhausted) => return Err(exhausted()),
                Err(Unreadable::Denied | Unreadable::Unknown) => absences.hide(),
            }
            missing.0.into_iter().for_each(|(figures, reason)| absences.add(figures, reason));
        }
        Ok(Sample { at: SystemTime::now(), began_ticks, began, processes, absences })
    }

    /// Whether a process matches.
    fn find(&mut self, pid: u32) -> Result<Option<Match>, Unreadable> {
        if pid == self.own_pid {
            return Ok(None);
        }
        let process = self.proc.process(pid)?;
        let stat = Stat::read(&process, &mut self.buffer)?;
        if stat.is_kernel_thread || stat.is_zombie() {
            return Ok(None);
        }
        let thread = if stat.has_no_leader() { process.living_thread(&mut self.buffer) } else { None };
        let names = Names::read(thread.as_ref().unwrap_or(&process), &stat.comm, &mut self.buffer);
        let identity = Identity { pid, start_ticks: stat.start_ticks };
        Ok(self.selector.select(&names).map(|group| Match {
            identity,
            group,
            name: names.shown(),
            executable: names.executable.as_deref().map(|name| String::from_utf8_lossy(name).into_owned()),
        }))
    }

    /// Has the kernel count for a process that it does not count for yet.
    fn watch(&mut self, identity: Identity, process: &Process) {
        let Some(kernel) = &mut self.kernel else { return };
        let again =
            matches!(self.known.get(&identity), Some(Err(NotWatched::NoFreeSlot))) && kernel.has_free_slot();
        if self.known.contains_key(&identity) && !again {
            return;
        }
        let buffer = &mut self.buffer;
        let watch = kernel.watch(identity.pid, identity.start_ticks, || {
            let read = ThreadSwitches::read(process, buffer).ok()?;
            Some((Switches { voluntary: read.voluntary, involuntary: read.involuntary }, read.threads))
        });
        // One that could not be read is tried again at the next look, if it is still there.
        if !matches!(watch, Err(NotWatched::Gone)) {
            self.known.insert(identity, watch);
        }
    }

    /// Reads all figures of a process.
    fn figures(&mut self, found: Match, missing: &mut Missing) -> Result<ProcessSample, Unreadable> {
        let Match { identity, group, name, executable } = found;
        let process = self.proc.process(identity.pid)?;
        self.watch(identity, &process);
        let sources = self.sources();
        let switches = match sources.context_switches {
            Source::Procfs => {
                let read = ThreadSwitches::read(&process, &mut self.buffer);
                missing
                    .unless(&["voluntary_ctx_switches", "nonvoluntary_ctx_switches"], read)
                    .map(|read| Switches { voluntary: read.voluntary, involuntary: read.involuntary })
            }
            _ => None,
        };
        let storage = StorageIo::read(&process, &mut self.buffer);
        let storage = missing.unless(&["disk_read_bytes", "disk_write_bytes"], storage);
        let at = Instant::now();
        let stat = Stat::read(&process, &mut self.buffer)?;
        if stat.is_zombie() || stat.start_ticks != identity.start_ticks {
            return Err(Unreadable::Gone);
        }
        let counted = self.counted(identity, missing);
        let shared = self.shared(&process, &stat, missing);
        Ok(ProcessSample {
            identity,
            name,
            executable,
            group,
            at,
            started: self.booted + of_ticks(identity.start_ticks),
            cpu_user: of_ticks(stat.user_ticks),
            cpu_system: of_ticks(stat.system_ticks),
            // The kernel counts a first thread that has ended for as long as the process lives.
            threads: stat.threads - u64::from(stat.has_no_leader()),
            minor_faults: stat.minor_faults,
            major_faults: stat.major_faults,
            resident_bytes: shared.resident_bytes,
            virtual_bytes: shared.virtual_bytes,
            open_files: shared.open_files,
            storage,
            switches: match sources.context_switches {
                Source::Procfs => switches,
                _ => counted
                    .map(|counts| Switches { voluntary: counts.voluntary, involuntary: counts.involuntary }),
            },
            block: counted.filter(|_| sources.block_io != Source::None),
        })
    }

    /// What all threads share, and /proc shows by the first thread: by another where that one has ended.
    fn shared(&mut self, process: &Process, stat: &Stat, missing: &mut Missing) -> Shared {
        let figures = |files: Result<u64, Unreadable>, stat: &Stat, missing: &mut Missing| Shared {
            resident_bytes: Some(stat.resident_bytes),
            virtual_bytes: Some(stat.virtual_bytes),
            open_files: missing.unless(&["open_file_descriptors"], files),
        };
        if !stat.has_no_leader() {
            return figures(fd::count(process), stat, missing);
        }
        let thread = process.living_thread(&mut self.buffer);
        let read = thread.and_then(|thread| Some((Stat::read(&thread, &mut self.buffer).ok()?, thread)));
        let Some((stat, thread)) = read else {
            missing.add(
                &["memory_usage", "memory_rss", "memory_vms", "open_file_descriptors"],
                Reason::NoLeader,
            );
            return Shared::default();
        };
        figures(fd::count(&thread), &stat, missing)
    }

    /// What the kernel counted for a process.
    fn counted(&self, identity: Identity, missing: &mut Missing) -> Option<Counts> {
        let kernel = self.kernel.as_ref()?;
        match self
            .known
            .get(&identity)
            .map_or(Err(NotWatched::Gone), |known| known.as_ref().map_err(|&reason| reason))
        {
            Ok(watch) => Some(kernel.totals(watch)),
            Err(reason) => {
                let sources = self.sources();
                if sources.context_switches != Source::Procfs {
                    missing.add(&["voluntary_ctx_switches", "nonvoluntary_ctx_switches"], reason);
                }
                if sources.block_io != Source::None {
                    missing.add(BLOCK_FIGURES, reason);
                }
                None
            }
        }
    }

    /// Gives the slots free of processes that were not seen any more.
    fn forget_all_but(&mut self, matches: &[Match]) {
        let Some(kernel) = &mut self.kernel else { return };
        let seen: HashSet<Identity> = matches.iter().map(|found| found.identity).collect();
        for (_, watch) in self.known.extract_if(|identity, _| !seen.contains(identity)) {
            if let Ok(watch) = watch {
                kernel.release(watch);
            }
        }
    }
}

/// A process that matches.
struct Match {
    identity: Identity,
    group: usize,
    name: String,
    executable: Option<String>,
}

/// What all threads of a process share.
#[derive(Default)]
struct Shared {
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    open_files: Option<u64>,
}

/// The absent figures of one process.
#[derive(Default)]
struct Missing(Vec<(&'static [&'static str], Reason)>);

impl Missing {
    fn add(&mut self, figures: &'static [&'static str], reason: impl Into<Reason>) {
        self.0.push((figures, reason.into()));
    }

    /// What was read; else it is missing.
    fn unless<T>(&mut self, figures: &'static [&'static str], read: Result<T, Unreadable>) -> Option<T> {
        read.map_err(|reason| self.add(figures, reason)).ok()
    }
}

fn exhausted() -> io::Error {
    io::Error::other("no file descriptors or memory left for this process: raise `ulimit -n`")
}

fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// When the machine started, as exactly as clock ticks are: the start of a process is the same to every agent.
fn booted() -> SystemTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let booted = since_epoch.saturating_sub(since_boot());
    UNIX_EPOCH + of_ticks(ticks(booted + of_ticks(1) / 2))
}

fn ticks(duration: Duration) -> u64 {
    let ticks = duration.as_nanos() * u128::from(clock_ticks_per_second()) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Looks made up for tests of what is made of them.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;

    /// A process with so many seconds of CPU time in user mode.
    pub(crate) fn process(pid: u32, start_ticks: u64, cpu_user: u64) -> ProcessSample {
        ProcessSample {
            identity: Identity { pid, start_ticks },
            name: "M8RefSvr".into(),
            executable: None,
            group: 0,
            at: Instant::now(),
            started: UNIX_EPOCH + of_ticks(start_ticks),
            cpu_user: Duration::from_secs(cpu_user),
            cpu_system: Duration::ZERO,
            threads: u64::from(pid) + 1,
            minor_faults: 3,
            major_faults: 1,
            resident_bytes: Some(1 << 20),
            virtual_bytes: Some(1 << 21),
            open_files: Some(62),
            storage: None,
            switches: None,
            block: None,
        }
    }

    /// A look that began so many clock ticks after boot.
    pub(crate) fn sample(began_ticks: u64, processes: impl Into<Vec<ProcessSample>>) -> Sample {
        Sample {
            at: UNIX_EPOCH + of_ticks(began_ticks),
            began_ticks,
            began: Instant::now(),
            processes: processes.into(),
            absences: Absences::default(),
        }
    }
}
