//! One collection: of each tracked process what the BPF programs counted and what /proc has, side by side, at one
//! moment.

mod fd_budget;
mod process_reader;

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Instant, SystemTime},
};

use crate::{
    bpf::{Kernel, Snapshot},
    collector::{
        fd_budget::FdBudget,
        process_reader::{Missing, ProcessReader},
    },
    model::{
        counters::{OriginKind, Totals},
        exit::ProcessEnd,
        identity::Identity,
        missing::MissingValues,
        sample::{ProcessSample, Sample},
        source::{Source, Sources, WITHOUT_PROGRAMS},
    },
    proc::{Proc, Unreadable, process_attributes::AttributeSet},
    sys::boot_clock::{since_boot, ticks},
    tracker::{TrackedProcess, Tracker, exhausted, limit_cache::LimitCache, selector::Selector},
};

/// Collects from the tracked processes, again and again.
#[derive(Debug)]
pub struct Collector {
    tracker: Tracker,
    limit_cache: LimitCache,
    budget: FdBudget,
    /// The cgroup of the last process: many processes share one.
    cgroup: Option<Arc<str>>,
    buffer: Vec<u8>,
}

impl Collector {
    /// Collects from what `selector` selects in `proc`, with the BPF programs' counters if `kernel` is there.
    pub fn new(proc: Proc, selector: Selector, kernel: Option<Kernel>) -> Self {
        let limit_cache = LimitCache::new(&proc);
        let tracker = Tracker::new(proc, selector, kernel);
        Self { tracker, limit_cache, budget: FdBudget::new(), cgroup: None, buffer: Vec::new() }
    }

    /// Reads these attributes of each process too.
    #[must_use]
    pub fn with_attributes(mut self, attributes: AttributeSet) -> Self {
        self.tracker.attributes = attributes;
        self
    }

    /// Where the values come from.
    pub fn sources(&self) -> Sources {
        self.kernel().map_or(WITHOUT_PROGRAMS, |kernel| kernel.variants().zip(WITHOUT_PROGRAMS, Source::of))
    }

    /// The BPF programs and their maps.
    pub fn kernel(&self) -> Option<&Kernel> {
        self.tracker.kernel.as_ref()
    }

    /// What selects the processes.
    pub fn selector(&self) -> &Selector {
        &self.tracker.selector
    }

    pub fn proc(&self) -> &Proc {
        &self.tracker.proc
    }

    /// The content of the BPF maps at this moment.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.kernel().map(Kernel::snapshot)
    }

    /// Processes that only a scan of /proc discovered or deselected.
    pub fn discovery_missed(&self) -> u64 {
        self.tracker.discovery_missed()
    }

    /// A descriptor that can be read when there is something to [`follow`](Self::follow); `None` where there never is.
    pub fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        self.tracker.descriptor()
    }

    /// Handles the events of the BPF programs. Returns the processes that exited or were deselected since the last
    /// collection.
    pub fn follow(&mut self) -> io::Result<&[ProcessEnd]> {
        self.tracker.follow()?;
        Ok(self.tracker.ended())
    }

    /// One collection. An error when /proc as a whole can't be read, or this process has no descriptors or memory left.
    pub fn collect(&mut self) -> io::Result<Sample> {
        let outcome = self.collect_now();
        if outcome.is_err() {
            // The next collection may need the descriptors of the files that were kept open.
            self.budget.close();
            self.tracker.tracked.values_mut().for_each(|tracked| tracked.held = None);
        }
        outcome
    }

    fn collect_now(&mut self) -> io::Result<Sample> {
        let began = Instant::now();
        let began_ticks = ticks(since_boot());
        let mut missing_values = self.tracker.update(began_ticks)?;
        self.limit_cache.begin_collection(self.tracker.tracked.len());
        self.budget
            .begin_collection(self.tracker.tracked.values().filter_map(|tracked| tracked.held.as_ref()));
        let (mut reader, tracked) = self.reader();
        let mut processes = Vec::with_capacity(tracked.len());
        let mut limits = Vec::with_capacity(tracked.len());
        let mut gone = Vec::new();
        for tracked in tracked.values_mut() {
            let mut missing = Missing::default();
            match reader.read(tracked, &mut missing) {
                Ok((process, process_limits)) => {
                    processes.push(process);
                    limits.push(process_limits);
                }
                // Values that are missing of an exited process are no error.
                Err(Unreadable::Gone) => {
                    gone.push(tracked.identity);
                    continue;
                }
                Err(Unreadable::Exhausted) => return Err(exhausted()),
                Err(Unreadable::Denied | Unreadable::Unknown) => missing_values.hide(),
            }
            missing.0.into_iter().for_each(|(values, reason)| missing_values.add(values, reason));
        }
        // The BPF programs usually have reported the exits by now.
        self.tracker.follow()?;
        for identity in gone {
            if self.tracker.vanished(identity) {
                missing_values.hide();
            }
        }
        self.read_again(&mut processes, &mut missing_values);
        if self.kernel().is_some_and(Kernel::take_unmapped) {
            return Err(exhausted());
        }
        let ends = self.tracker.take_ended();
        // A process may have exited or been deselected since it was read.
        if !ends.is_empty() {
            let mut left = processes.iter().map(|process| self.tracker.has(&process.identity));
            limits.retain(|_| left.next().unwrap_or_default());
            processes.retain(|process| self.tracker.has(&process.identity));
        }
        LimitCache::end_collection(&mut processes, &limits);
        Ok(Sample { at: SystemTime::now(), began_ticks, began, processes, ends, missing_values })
    }

    fn reader(&mut self) -> (ProcessReader<'_>, &mut BTreeMap<Identity, TrackedProcess>) {
        let (sources, boot) = (self.sources(), self.tracker.boot());
        let Tracker { proc, kernel, tracked, attributes, .. } = &mut self.tracker;
        let reader = ProcessReader {
            proc,
            kernel: kernel.as_ref(),
            sources,
            boot,
            limit_cache: &mut self.limit_cache,
            budget: &mut self.budget,
            attributes: *attributes,
            cgroup: &mut self.cgroup,
            buffer: &mut self.buffer,
        };
        (reader, tracked)
    }

    /// Reads the processes again that were found to have tracked children since they were read. The I/O that was read
    /// may include that of children which started and exited since. A process that is gone by now is left to its exit
    /// record.
    fn read_again(&mut self, processes: &mut [ProcessSample], missing_values: &mut MissingValues) {
        let (mut reader, tracked) = self.reader();
        for tracked in tracked.values_mut().filter(|tracked| tracked.is_stale) {
            let sample = processes.iter_mut().find(|process| process.identity == tracked.identity);
            let Some(sample) = sample else { continue };
            sample.counters = sample.counters.with_values_of(&Totals::default(), &[OriginKind::Io]);
            let mut missing = Missing::default();
            if let Ok((process, _)) = reader.read(tracked, &mut missing) {
                *sample = process;
                missing.0.into_iter().for_each(|(values, reason)| missing_values.add(values, reason));
            }
        }
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
        let collect = |collector: &mut Collector| {
            let mut processes = collector.collect().unwrap().processes;
            assert_eq!(processes.len(), 1);
            processes.remove(0)
        };
        let [mut none, mut some, mut all] =
            [AttributeSet::None, AttributeSet::Standard, AttributeSet::WithCommandLine].map(collector);
        assert_eq!(collect(&mut none).attributes, None);
        let first = collect(&mut some);
        let attributes = first.attributes.as_ref().unwrap();
        assert_eq!(attributes.command.as_deref(), Some(format!("{name}-a").as_str()));
        assert_eq!((attributes.parent_pid, &attributes.command_line), (Some(std::process::id()), &None));
        let line = collect(&mut all).attributes.unwrap().command_line.clone().unwrap();
        assert!(line.starts_with(&format!("{name}-a -c read it; exec ")), "{line}");
        let is_kept = |collector: &Collector| {
            let tracked = collector.tracker.tracked.values();
            tracked.filter(|tracked| tracked.invocation.is_some()).count() > 0
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
        let second = collect(&mut some);
        assert!(comm().starts_with(&name), "{}", comm());
        assert!(Arc::ptr_eq(attributes, second.attributes.as_ref().unwrap()));
        assert!(!is_kept(&some));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
