//! Looks at all matching processes: both sides of each, the kernel's counts and /proc's values, side by side.

mod fd_budget;

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Instant, SystemTime},
};

use m8refsvr_common::record::Counts;

use crate::{
    bpf::{Kernel, Snapshot, Switches},
    collector::fd_budget::Room,
    model::{
        counters::{OriginKind, Readings, Totals},
        exit::ProcessEnd,
        limit_utilization::LimitUtilization,
        missing::{MissingValues, Reason, Values},
        sample::{Identity, ProcessSample, Sample},
        source::{Source, Sources, WITHOUT_PROGRAMS},
    },
    proc::{
        Proc, Process, Unreadable, fd,
        process_attributes::{AttributeSet, ProcessAttributes},
        stat::Stat,
        statm::Memory,
        switches::ThreadSwitches,
    },
    sys::boot_clock::{Boot, of_ticks, since_boot, ticks},
    tracker::{
        Member, Tracker, exhausted,
        idle::CachedReading,
        limit_cache::{Bound, Bounds, Known},
        selector::Selector,
        storage_io,
    },
};

/// Looks at the matching processes, again and again.
#[derive(Debug)]
pub struct Collector {
    tracker: Tracker,
    bounds: Bounds,
    room: Room,
    /// The cgroup that was told last: many processes are in one.
    cgroup: Option<Arc<str>>,
    buffer: Vec<u8>,
}

impl Collector {
    /// Looks at what `selector` selects in `proc`, with the kernel's counts if there are any.
    pub fn new(proc: Proc, selector: Selector, kernel: Option<Kernel>) -> Self {
        let bounds = Bounds::new(&proc);
        let tracker = Tracker::new(proc, selector, kernel);
        Self { tracker, bounds, room: Room::new(), cgroup: None, buffer: Vec::new() }
    }

    /// Describes each process by these attributes too.
    #[must_use]
    pub fn with_attributes(mut self, attributes: AttributeSet) -> Self {
        self.tracker.attributes = attributes;
        self
    }

    /// Where figures come from.
    pub fn sources(&self) -> Sources {
        self.kernel().map_or(WITHOUT_PROGRAMS, |kernel| kernel.variants().zip(WITHOUT_PROGRAMS, Source::of))
    }

    /// The kernel's side.
    pub fn kernel(&self) -> Option<&Kernel> {
        self.tracker.kernel.as_ref()
    }

    /// What selects the processes.
    pub fn selector(&self) -> &Selector {
        &self.tracker.selector
    }

    /// The processes it looks at.
    pub fn proc(&self) -> &Proc {
        &self.tracker.proc
    }

    /// The maps at this moment, if there are any.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.kernel().map(Kernel::snapshot)
    }

    /// Matches that were learnt of only by looking at all processes.
    pub fn discovery_missed(&self) -> u64 {
        self.tracker.discovery_missed()
    }

    /// A descriptor that can be read when there is something to [`follow`](Self::follow); `None` where there never is.
    pub fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        self.tracker.descriptor()
    }

    /// Takes in which processes began to match and which are over. Returns those that are over since the last collection.
    pub fn follow(&mut self) -> io::Result<&[ProcessEnd]> {
        self.tracker.follow()?;
        Ok(self.tracker.over())
    }

    /// One collection. An error when /proc as a whole can't be read, or this process has no descriptors or memory left.
    pub fn collect(&mut self) -> io::Result<Sample> {
        let outcome = self.collect_now();
        if outcome.is_err() {
            // The next collection has the descriptors of what is held.
            self.room.close();
            self.tracker.members.values_mut().for_each(|member| member.held = None);
        }
        outcome
    }

    fn collect_now(&mut self) -> io::Result<Sample> {
        let began = Instant::now();
        let began_ticks = ticks(since_boot());
        let mut absences = self.tracker.update(began_ticks)?;
        self.bounds.begin_collection(self.tracker.members.len());
        self.room.begin_collection(self.tracker.members.values().filter_map(|member| member.held.as_ref()));
        let (mut reading, members) = self.reading();
        let mut processes = Vec::with_capacity(members.len());
        let mut bounds = Vec::with_capacity(members.len());
        let mut gone = Vec::new();
        for member in members.values_mut() {
            let mut missing = Missing::default();
            match reading.figures(member, &mut missing) {
                Ok((process, bound)) => {
                    processes.push(process);
                    bounds.push(bound);
                }
                // Only now is it clear that it was not incomplete, but gone.
                Err(Unreadable::Gone) => {
                    gone.push(member.identity);
                    continue;
                }
                Err(Unreadable::Exhausted) => return Err(exhausted()),
                Err(Unreadable::Denied | Unreadable::Unknown) => absences.hide(),
            }
            missing.0.into_iter().for_each(|(values, reason)| absences.add(values, reason));
        }
        // Most often the programs have told by now of those that are gone.
        self.tracker.follow()?;
        for identity in gone {
            if self.tracker.gone(identity) {
                absences.hide();
            }
        }
        self.read_again(&mut processes, &mut absences);
        if self.kernel().is_some_and(Kernel::take_unmapped) {
            return Err(exhausted());
        }
        let over = self.tracker.take_over();
        // One that matched at the beginning of the collection may be over at its end.
        if !over.is_empty() {
            let mut left = processes.iter().map(|process| self.tracker.has(&process.identity));
            bounds.retain(|_| left.next().unwrap_or_default());
            processes.retain(|process| self.tracker.has(&process.identity));
        }
        Bounds::end_collection(&mut processes, &bounds);
        Ok(Sample { at: SystemTime::now(), began_ticks, began, processes, over, absences })
    }

    fn reading(&mut self) -> (Reading<'_>, &mut BTreeMap<Identity, Member>) {
        let (sources, boot) = (self.sources(), self.tracker.boot());
        let Tracker { proc, kernel, members, attributes, .. } = &mut self.tracker;
        let reading = Reading {
            proc,
            kernel: kernel.as_ref(),
            sources,
            boot,
            bounds: &mut self.bounds,
            room: &mut self.room,
            attributes: *attributes,
            cgroup: &mut self.cgroup,
            buffer: &mut self.buffer,
        };
        (reading, members)
    }

    /// Reads those again of which it became known meanwhile that they have children: what these had may be in what was
    /// read, if they began and ended since. Of one that is gone by now its end tells it.
    fn read_again(&mut self, processes: &mut [ProcessSample], absences: &mut MissingValues) {
        let (mut reading, members) = self.reading();
        for member in members.values_mut().filter(|member| member.is_stale) {
            let place = processes.iter_mut().find(|process| process.identity == member.identity);
            let Some(place) = place else { continue };
            place.counters = place.counters.without_io();
            let mut missing = Missing::default();
            if let Ok((process, _)) = reading.figures(member, &mut missing) {
                *place = process;
                missing.0.into_iter().for_each(|(values, reason)| absences.add(values, reason));
            }
        }
    }
}

/// What reading the figures of processes needs.
struct Reading<'a> {
    proc: &'a Proc,
    kernel: Option<&'a Kernel>,
    sources: Sources,
    boot: Boot,
    bounds: &'a mut Bounds,
    room: &'a mut Room,
    attributes: AttributeSet,
    cgroup: &'a mut Option<Arc<str>>,
    buffer: &'a mut Vec<u8>,
}

impl Reading<'_> {
    /// Reads all figures of a process, and holds it where there is room.
    fn figures(
        &mut self,
        member: &mut Member,
        missing: &mut Missing,
    ) -> Result<(ProcessSample, Bound), Unreadable> {
        let mut process = match member.held.take() {
            Some(process) => process,
            None => self.room.hold(self.proc.process(member.identity.pid)?),
        };
        let outcome = self.figures_of(member, &mut process, missing);
        if process.is_kept() && outcome.is_ok() {
            member.held = Some(process);
        }
        outcome
    }

    fn figures_of(
        &mut self,
        member: &mut Member,
        process: &mut Process,
        missing: &mut Missing,
    ) -> Result<(ProcessSample, Bound), Unreadable> {
        let identity = member.identity;
        // Before anything is read: what happens meanwhile is found by the next collection.
        let counted = self.counted(member, missing);
        let is_counted = self.sources.context_switches != Source::Procfs;
        let of_kernel = counted.filter(|_| is_counted).map(|counts| Switches::from(&counts));
        let switches = if is_counted { of_kernel } else { self.switches(process, missing) };
        let (at, cached) = match member.rest.begin_collection(process, of_kernel.map(Switches::all)) {
            Some(cached) => (Instant::now(), cached),
            None => self.read(member, process, missing)?,
        };
        if member.rest.is_long() {
            process.set_idle();
        }
        let CachedReading { stat, io } = cached;
        let shared = self.shared(&mut member.bounds, process, stat.has_no_leader(), missing)?;
        if self.attributes != AttributeSet::None && member.attributes.is_none() {
            member.attributes = Some(self.describe(member, process, &stat)?);
        }
        let sample = ProcessSample {
            identity,
            name: member.name.clone(),
            executable: member.executable.clone(),
            attributes: member.attributes.clone(),
            group: member.group,
            at,
            started: self.boot.time(of_ticks(identity.start_ticks)),
            counters: Totals::read(Readings {
                stat: Some(&stat),
                io: io.as_ref(),
                switches: switches.as_ref(),
                block_io: counted.as_ref().filter(|_| self.sources.block_io != Source::None),
            }),
            // The kernel counts a first thread that has ended for as long as the process lives.
            threads: stat.threads - u64::from(stat.has_no_leader()),
            resident_bytes: shared.memory.map(|memory| memory.resident_bytes),
            virtual_bytes: shared.memory.map(|memory| memory.virtual_bytes),
            open_files: shared.open_files,
            first: member.first,
            limits_used: LimitUtilization::default(),
        };
        Ok((sample, shared.bound))
    }

    /// Reads what describes a process.
    fn describe(
        &mut self,
        member: &mut Member,
        process: &Process,
        stat: &Stat,
    ) -> Result<Arc<ProcessAttributes>, Unreadable> {
        let invocation = member.invocation.as_deref().cloned();
        let mut attributes =
            ProcessAttributes::read(process, stat, invocation, self.attributes, self.buffer)?;
        member.invocation = None;
        if attributes.cgroup == *self.cgroup {
            attributes.cgroup.clone_from(self.cgroup);
        }
        self.cgroup.clone_from(&attributes.cgroup);
        Ok(Arc::new(attributes))
    }

    /// What its threads had of context switches, where the kernel counts none.
    fn switches(&mut self, process: &Process, missing: &mut Missing) -> Option<Switches> {
        let read = ThreadSwitches::read(process, self.buffer);
        let read = missing.unless(Values::Counters(OriginKind::Switches), read)?;
        Some(Switches { voluntary: read.voluntary, involuntary: read.involuntary })
    }

    /// Reads of a process that has run what changes by that, and when its times were read.
    fn read(
        &mut self,
        member: &mut Member,
        process: &mut Process,
        missing: &mut Missing,
    ) -> Result<(Instant, CachedReading), Unreadable> {
        self.room.wake(process);
        member.is_stale = false;
        let watched = self.kernel.zip(member.watch.as_ref().ok());
        let io = storage_io::read(process, member.storage, watched, self.buffer);
        let io = missing.unless(Values::Counters(OriginKind::Io), io);
        let at = Instant::now();
        let stat = Stat::read(process, self.buffer)?;
        if stat.is_zombie() || stat.start_ticks != member.identity.start_ticks {
            return Err(Unreadable::Gone);
        }
        let cached = CachedReading { stat, io };
        member.rest.keep(cached);
        Ok((at, cached))
    }

    /// What all threads share, and /proc shows by the first thread: by another where that one has ended.
    fn shared(
        &mut self,
        known: &mut Known,
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
        let by = thread.as_ref().unwrap_or(process);
        let memory = Memory::read(by, self.buffer);
        if let (Err(reason @ (Unreadable::Gone | Unreadable::Exhausted)), None) = (memory, &thread) {
            return Err(reason);
        }
        Ok(Shared {
            memory: missing.unless(Values::Memory, memory),
            open_files: missing.unless(Values::OpenFiles, fd::count(by)),
            bound: self.bounds.of(known, process, thread.as_ref(), self.buffer),
        })
    }

    /// What the kernel counted for a process.
    fn counted(&self, member: &Member, missing: &mut Missing) -> Option<Counts> {
        let kernel = self.kernel?;
        match &member.watch {
            Ok(watch) => Some(kernel.totals(watch)),
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
    bound: Bound,
}

/// The absent figures of one process.
#[derive(Default)]
struct Missing(Vec<(Values, Reason)>);

impl Missing {
    fn add(&mut self, values: Values, reason: impl Into<Reason>) {
        self.0.push((values, reason.into()));
    }

    /// What was read; else it is missing.
    fn unless<T>(&mut self, values: Values, read: Result<T, Unreadable>) -> Option<T> {
        read.map_err(|reason| self.add(values, reason)).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write as _,
        os::unix::{fs::symlink, process::CommandExt as _},
        process::{Command, Stdio},
        thread::sleep,
        time::Duration,
    };

    use super::*;

    #[test]
    fn a_process_is_described_once_where_that_is_wanted_whatever_it_executes_later() {
        let name = format!("m8-{}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join(format!("{name}-b"));
        let path = std::env::var_os("PATH").unwrap();
        let program = std::env::split_paths(&path).map(|folder| folder.join("sleep"));
        symlink(program.into_iter().find(|program| program.exists()).unwrap(), &other).unwrap();
        let mut child = Command::new("sh")
            .arg0(format!("{name}-a"))
            .args(["-c", &format!("read it; exec {} 60", other.display())])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let collector = |set| {
            let selector = Selector::new(std::slice::from_ref(&name), &[]).unwrap();
            Collector::new(Proc::new("/proc"), selector, None).with_attributes(set)
        };
        let look = |collector: &mut Collector| {
            let mut processes = collector.collect().unwrap().processes;
            assert_eq!(processes.len(), 1);
            processes.remove(0)
        };
        let [mut none, mut some, mut all] =
            [AttributeSet::None, AttributeSet::Standard, AttributeSet::WithCommandLine].map(collector);
        assert_eq!(look(&mut none).attributes, None);
        let first = look(&mut some);
        let attributes = first.attributes.as_ref().unwrap();
        assert_eq!(attributes.command.as_deref(), Some(format!("{name}-a").as_str()));
        assert_eq!((attributes.parent_pid, &attributes.command_line), (Some(std::process::id()), &None));
        let line = look(&mut all).attributes.unwrap().command_line.clone().unwrap();
        assert!(line.starts_with(&format!("{name}-a -c read it; exec ")), "{line}");
        let is_kept = |collector: &Collector| {
            let members = collector.tracker.members.values();
            members.filter(|member| member.invocation.is_some()).count() > 0
        };
        assert!([&none, &some, &all].into_iter().all(|collector| !is_kept(collector)));

        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let comm = || fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
        for _ in 0..1000 {
            if comm().starts_with(&name) {
                break;
            }
            sleep(Duration::from_millis(5));
        }
        let second = look(&mut some);
        assert!(comm().starts_with(&name), "{}", comm());
        assert!(Arc::ptr_eq(attributes, second.attributes.as_ref().unwrap()));
        assert!(!is_kept(&some));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
