//! Which processes are tracked, and which exited or no longer match: from the events of the BPF programs, and from a
//! scan of /proc where there are none. ARCHITECTURE.md has the states of a process; the functions here bear the names
//! of its arrows.

mod children;
mod events;
pub(crate) mod idle;
pub(crate) mod limit_cache;
mod process;
mod scan;
pub mod selector;
pub(crate) mod storage_io;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use m8refsvr_common::{
    signal::Variant,
    slot::{Slot, Tgid},
};

use crate::{
    bpf::{Kernel, NoSlot, SlotHandle, SlotProcess},
    model::{
        counters::{Counter, OriginKind, Totals},
        exit::{EndKind, Exit, ProcessEnd},
        identity::Identity,
        missing::MissingValues,
    },
    proc::{
        Proc, Process,
        identity::Invocation,
        process_attributes::{AttributeSet, ProcessAttributes},
    },
    sys::boot_clock::{Boot, of_ticks, since_boot},
    tracker::{
        idle::Activity,
        limit_cache::CachedLimits,
        process::with_counts,
        selector::Selector,
        storage_io::{IoBaseline, Patience},
    },
};

/// Time between two scans of /proc while the BPF programs report what starts to match.
const SCAN_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Within this time the agent decides about a process that executed a program. The BPF programs can't decide where only
/// the executable or argv[0] matches.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Time that an exited process may take to leave its CPU for the last time. Then the BPF programs have missed that.
const LAST_SWITCH: Duration = Duration::from_secs(1);

/// The tracked processes.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(crate) proc: Proc,
    pub(crate) selector: Selector,
    pub(crate) kernel: Option<Kernel>,
    /// Which attributes describe a process.
    pub(crate) attributes: AttributeSet,
    pub(crate) tracked: BTreeMap<Identity, TrackedProcess>,
    /// The tracked process with an id. Where an id came again, the later one.
    ids: HashMap<u32, Identity>,
    /// Processes that exited or no longer match since the last collection.
    ended: Vec<ProcessEnd>,
    /// Processes that were deselected before the last collection.
    deselected: HashSet<Identity>,
    /// Start of the last collection, in clock ticks after boot.
    last_began: Option<u64>,
    own_pid: u32,
    boot: Boot,
    /// Time of the last scan.
    scanned: Option<Instant>,
    /// Whether the ring buffer dropped an event since the last scan.
    is_incomplete: bool,
    discovery_missed: u64,
    /// What the last scan could not read.
    hidden: MissingValues,
    /// How long to wait for children until the next collection.
    patience: Patience,
    buffer: Vec<u8>,
}

/// A tracked process.
#[derive(Debug)]
pub(crate) struct TrackedProcess {
    pub(crate) identity: Identity,
    /// Its name for people.
    pub(crate) name: Arc<str>,
    /// File name of its executable; `None` without the permission to read it.
    pub(crate) executable: Option<Arc<str>>,
    /// What was read of its program when it was found. `None` once `attributes` has it.
    pub(crate) invocation: Option<Box<Invocation>>,
    /// What describes it. `None` until a collection could read it, or where no attributes are wanted. It is read late,
    /// as a daemon changes its user right after exec.
    pub(crate) attributes: Option<Arc<ProcessAttributes>>,
    /// Index of its group.
    pub(crate) group: usize,
    /// The group of its parent when it was forked, if that was a tracked process.
    pub(crate) parent_group: Option<usize>,
    /// Its counters when it began to match: 0 if it started since the collection before. `None` where they are not
    /// known.
    pub(crate) first: Option<Totals>,
    /// Its slot, or why it has none.
    pub(crate) slot: Result<SlotHandle, NoSlot>,
    /// Whether a BPF program gave it the slot, so that no thread exited uncounted.
    is_whole: bool,
    /// Where it has tracked children: how to read its I/O without theirs.
    pub(crate) io_baseline: Option<IoBaseline>,
    /// Whether it was counted as a drop, as it found no free slot.
    is_counted: bool,
    /// Since when collections have not found it.
    gone_since: Option<Instant>,
    /// Its open files, where the file descriptor budget allows them.
    pub(crate) held: Option<Process>,
    pub(crate) limits: CachedLimits,
    /// Whether its I/O must be read again, as it has tracked children since.
    pub(crate) is_stale: bool,
    /// Whether it has run since the last collection.
    pub(crate) activity: Activity,
}

/// A process whose names match, before it is tracked.
struct Match {
    identity: Identity,
    /// Its parent, which reaps it or forked it.
    parent: Option<u32>,
    group: usize,
    name: Arc<str>,
    executable: Option<Arc<str>>,
    /// `None` where no attributes are wanted, or they are read already.
    invocation: Option<Box<Invocation>>,
}

impl TrackedProcess {
    /// Whether its parent was a tracked process of the same group when it was forked.
    pub(crate) fn has_parent(&self) -> bool {
        self.parent_group == Some(self.group)
    }

    /// Takes its names, as it may have executed another program. Its attributes stay once they are read.
    fn rename(&mut self, found: Match) {
        let Match { group, name, executable, invocation, .. } = found;
        (self.group, self.name, self.executable) = (group, name, executable);
        if self.attributes.is_none() {
            self.invocation = invocation;
        }
    }
}

impl Tracker {
    pub(crate) fn new(proc: Proc, selector: Selector, kernel: Option<Kernel>) -> Self {
        let own_pid = fs::read_link(proc.root().join("self"))
            .ok()
            .and_then(|pid| pid.to_str()?.parse().ok())
            .unwrap_or_else(std::process::id);
        Self {
            proc,
            selector,
            kernel,
            attributes: AttributeSet::None,
            tracked: BTreeMap::new(),
            ids: HashMap::new(),
            ended: Vec::new(),
            deselected: HashSet::new(),
            last_began: None,
            own_pid,
            boot: Boot::of_this_machine(),
            scanned: None,
            is_incomplete: false,
            discovery_missed: 0,
            hidden: MissingValues::default(),
            patience: Patience::default(),
            buffer: Vec::new(),
        }
    }

    /// Processes that only a scan discovered or deselected: the BPF programs had missed the change.
    pub(crate) fn discovery_missed(&self) -> u64 {
        self.discovery_missed
    }

    /// When the machine started.
    pub(crate) fn boot(&self) -> Boot {
        self.boot
    }

    /// A descriptor that can be read when there is something to [`follow`](Self::follow).
    pub(crate) fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        match &self.kernel {
            Some(kernel) if kernel.follows_processes() => kernel.descriptor().map(Some),
            _ => Ok(None),
        }
    }

    /// Whether a process is tracked.
    pub(crate) fn has(&self, identity: &Identity) -> bool {
        self.tracked.contains_key(identity)
    }

    /// Takes the processes that exited or were deselected since the last call, in the order in which the agent learned
    /// of them.
    pub(crate) fn take_ended(&mut self) -> Vec<ProcessEnd> {
        let ended = std::mem::take(&mut self.ended);
        self.deselected =
            ended.iter().filter(|end| end.how == EndKind::Deselected).map(|end| end.identity).collect();
        ended
    }

    /// The processes that exited or were deselected since the last collection.
    pub(crate) fn ended(&self) -> &[ProcessEnd] {
        &self.ended
    }

    /// Follows the events, and scans /proc where that is due. `began` is the start of the collection, in clock ticks
    /// after boot. An error when /proc as a whole can't be read, or the agent has no descriptors or memory left.
    pub(crate) fn update(&mut self, began: u64) -> io::Result<MissingValues> {
        self.patience = Patience::default();
        self.follow()?;
        let follows = self.kernel.as_ref().is_some_and(Kernel::follows_processes);
        let is_due = self.scanned.is_none_or(|scanned| scanned.elapsed() >= SCAN_INTERVAL);
        if !follows || is_due || self.is_incomplete {
            self.scan(follows)?;
        }
        self.count_more();
        self.last_began = Some(began);
        Ok(self.hidden.clone())
    }

    /// A collection did not find a tracked process. The event of its exit came by now, or comes when its last thread has
    /// left the CPU; but the BPF programs don't see every exit. Returns true for a process that lives, where hidepid hides it.
    pub(crate) fn vanished(&mut self, identity: Identity) -> bool {
        let Some(tracked) = self.tracked.get_mut(&identity) else { return false };
        let follows = self.kernel.as_ref().is_some_and(Kernel::follows_processes);
        if let (Some(kernel), Ok(handle)) = (&self.kernel, &tracked.slot)
            && self.proc.hides_processes()
            && kernel.slot(Tgid(identity.pid)) == Some(handle.slot())
        {
            return true;
        }
        let is_over = tracked.gone_since.get_or_insert_with(Instant::now).elapsed() >= LAST_SWITCH;
        if !follows || tracked.slot.is_err() || is_over {
            self.take_final_values(identity, EndKind::Exited(Exit::Unknown), Totals::default());
        }
        false
    }

    /// Starts to track a process, or takes the names of one that is tracked. `is_now` is true if it just began to
    /// match.
    fn start_tracking(&mut self, found: Match, is_counted: bool, is_now: bool) {
        let identity = found.identity;
        if let Some(tracked) = self.tracked.get_mut(&identity) {
            tracked.rename(found);
            tracked.is_counted |= is_counted;
            return;
        }
        let handle = self.count_in_kernel(identity);
        let now = if is_now { self.read_with(identity, handle.as_ref().ok()) } else { None };
        // An exec deselects a process where only the agent can see that the new program matches too. Then it continues
        // where it stopped.
        let just_now = |end: &&ProcessEnd| self.boot.time(since_boot()) <= end.at + AT_ONCE;
        let left = self.ended.iter().rfind(|end| end.identity == identity && end.how == EndKind::Deselected);
        let left = left.filter(just_now);
        let first = match (left, now) {
            (Some(left), Some(now)) => {
                Some(left.last.with_values_of(&now, &[OriginKind::Switches, OriginKind::BlockIo]))
            }
            (_, now) => now,
        };
        self.insert(found, first, handle, is_counted);
    }

    fn insert(
        &mut self,
        found: Match,
        first: Option<Totals>,
        handle: Result<SlotHandle, NoSlot>,
        is_counted: bool,
    ) {
        let parent_group = found.parent.and_then(|parent| self.group_of(parent));
        let Match { identity, group, name, executable, invocation, .. } = found;
        tracing::debug!("{name:?} {} began to match, {handle:?}", identity.pid);
        let is_from_program =
            |handle: &SlotHandle| self.kernel.as_ref().is_some_and(|kernel| kernel.is_whole(handle));
        let is_whole = handle.as_ref().is_ok_and(is_from_program);
        let first = if self.is_young(&identity) { Some(Totals::of(|_| Some(0))) } else { first };
        let tracked = TrackedProcess {
            identity,
            name,
            executable,
            invocation,
            attributes: None,
            group,
            parent_group,
            first,
            slot: handle,
            is_whole,
            io_baseline: None,
            is_counted,
            gone_since: None,
            held: None,
            limits: CachedLimits::default(),
            is_stale: false,
            activity: Activity::default(),
        };
        self.ids.insert(identity.pid, identity);
        self.tracked.insert(identity, tracked);
    }

    /// The group of a process that is tracked, or was until it ended since the last collection.
    fn group_of(&self, pid: u32) -> Option<usize> {
        let living = self.ids.get(&pid).and_then(|identity| self.tracked.get(identity));
        let ended = || self.ended.iter().rfind(|end| end.identity.pid == pid);
        living.map(|tracked| tracked.group).or_else(|| Some(ended()?.group))
    }

    /// Whether a process that begins to match started since the last collection. Then everything it did counts, also as
    /// another program. If it was tracked before, the totals have that already.
    fn is_young(&self, identity: &Identity) -> bool {
        let is_new = self.last_began.is_some_and(|began| identity.start_ticks >= began);
        is_new
            && !self.deselected.contains(identity)
            && !self.ended.iter().any(|end| end.identity == *identity)
    }

    /// Takes the final values of a tracked process, and frees its slot. `last` has those that its exit record has.
    fn take_final_values(&mut self, identity: Identity, how: EndKind, mut last: Totals) {
        let Some(tracked) = self.tracked.remove(&identity) else { return };
        if self.ids.get(&identity.pid) == Some(&identity) {
            self.ids.remove(&identity.pid);
        }
        let has_parent = tracked.has_parent();
        let TrackedProcess { name, executable, group, first, slot: handle, is_whole, is_counted, .. } =
            tracked;
        tracing::debug!("{name:?} {} is no longer tracked: {how:?}, {handle:?}", identity.pid);
        match (&mut self.kernel, handle) {
            (Some(kernel), Ok(handle)) => {
                let variants = kernel.variants();
                if variants.context_switches != Variant::None {
                    let mut counts = kernel.totals(&handle);
                    // The kernel's accounting has the last switch of a thread a moment before the BPF program. If the
                    // thread was reaped in between, the counter lacks that switch.
                    if is_whole && matches!(how, EndKind::Exited(_)) {
                        let accounted = [Counter::Voluntary, Counter::Involuntary].map(|kind| last.get(kind));
                        let accounted: u64 = accounted.into_iter().flatten().sum();
                        counts.voluntary += accounted.saturating_sub(counts.voluntary + counts.involuntary);
                    }
                    last = with_counts(&last, &counts, variants);
                }
                kernel.release(handle);
            }
            (Some(kernel), Err(NoSlot::NoFreeSlot)) if !is_counted => kernel.count_no_free_slot(),
            _ => {}
        }
        let start = of_ticks(identity.start_ticks);
        self.ended.push(ProcessEnd {
            identity,
            name,
            executable,
            group,
            how,
            has_parent,
            started: self.boot.time(start),
            at: SystemTime::now(),
            lasted: since_boot().saturating_sub(start),
            peak_bytes: None,
            first,
            last,
        });
    }

    fn slot_process(&self, slot: Slot) -> Option<SlotProcess> {
        self.kernel.as_ref()?.tracked_process(slot)
    }
}

impl SlotProcess {
    fn identity(&self) -> Identity {
        Identity { pid: self.tgid.0, start_ticks: self.start_ticks }
    }
}

/// The error of a collection for want of descriptors or memory.
pub(crate) fn exhausted() -> io::Error {
    io::Error::other(
        "no file descriptors or memory left for this process: raise LimitNOFILE= of the service, or `ulimit -n`",
    )
}

#[cfg(test)]
mod tests;
