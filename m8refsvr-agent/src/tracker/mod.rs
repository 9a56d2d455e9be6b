//! Which processes match at this moment, and which are over since the last collection: from what the kernel's programs tell
//! as it happens, and from the list of all processes where they can't tell. Knows nothing of what becomes of either.

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
    bpf::{Kernel, NotTracked, SlotHandle, Switches, TrackedProcess},
    model::{
        counters::{Counter, Readings, Totals},
        exit::{EndKind, Exit, ProcessEnd},
        missing::MissingValues,
        sample::Identity,
    },
    proc::{
        Proc, Process,
        identity::Invocation,
        process_attributes::{AttributeSet, ProcessAttributes},
    },
    sys::boot_clock::{Boot, of_ticks, since_boot},
    tracker::{
        idle::Rest,
        limit_cache::Known,
        selector::Selector,
        storage_io::{Offset, Patience},
    },
};

/// How often all processes are looked at although the programs tell of those that begin to match.
const SCAN_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// A process that executes a program which matches by what only the agent knows is decided about within this time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The matching processes.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(crate) proc: Proc,
    pub(crate) selector: Selector,
    pub(crate) kernel: Option<Kernel>,
    /// Which attributes of processes are wanted.
    pub(crate) attributes: AttributeSet,
    pub(crate) members: BTreeMap<Identity, Member>,
    /// The member with an id; of two, the later.
    ids: HashMap<u32, Identity>,
    /// Those that are over since the last collection.
    over: Vec<ProcessEnd>,
    /// Those that matched no more at the last collection.
    left: HashSet<Identity>,
    /// When the last collection began, in clock ticks after boot.
    looked: Option<u64>,
    own_pid: u32,
    boot: Boot,
    /// When all processes were looked at.
    scanned: Option<Instant>,
    /// Whether something happened that the programs had no room to tell.
    is_incomplete: bool,
    discovery_missed: u64,
    /// What the last collection at all processes could not see.
    hidden: MissingValues,
    /// With children, until the next collection.
    patience: Patience,
    buffer: Vec<u8>,
}

/// A process that matches.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) identity: Identity,
    /// Its name, as to be shown.
    pub(crate) name: Arc<str>,
    /// File name of its executable; `None` without the right to know it.
    pub(crate) executable: Option<Arc<str>>,
    /// What was read of its program when it was found; `None` once it is in `attributes`.
    pub(crate) invocation: Option<Box<Invocation>>,
    /// What describes it; `None` until a collection could read it, or where nobody asked. A daemon changes its user right after
    /// it was executed.
    pub(crate) attributes: Option<Arc<ProcessAttributes>>,
    /// The pattern that selected it, by its place.
    pub(crate) group: usize,
    /// What it had when it began to match, or nothing if it started since the collection before that; `None` where that is not
    /// known.
    pub(crate) first: Option<Totals>,
    /// How the programs count for it.
    pub(crate) watch: Result<SlotHandle, NotTracked>,
    /// Whether a program gave it its slot, so that none of its threads ended unseen.
    is_whole: bool,
    /// Where it has matching children: how to read its storage I/O without theirs.
    pub(crate) storage: Option<Offset>,
    /// Whether it is counted as lost, if it found no free slot.
    is_counted: bool,
    /// Whether the last collection found it gone.
    was_gone: bool,
    /// Where files of it are kept open.
    pub(crate) held: Option<Process>,
    /// What bounds it.
    pub(crate) bounds: Known,
    /// Whether its storage I/O is to be read otherwise than it was last.
    pub(crate) is_stale: bool,
    /// Whether it has run since the last collection.
    pub(crate) rest: Rest,
}

/// A process whose names match.
struct Match {
    identity: Identity,
    /// The process that waits for its end, or that forked it.
    parent: Option<u32>,
    group: usize,
    name: Arc<str>,
    executable: Option<Arc<str>>,
    /// `None` where nobody asks for it, or no more.
    invocation: Option<Box<Invocation>>,
}

impl Member {
    /// Takes the names that were found of it now: it may have executed another program. What describes it stays, once it
    /// is read.
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
            members: BTreeMap::new(),
            ids: HashMap::new(),
            over: Vec::new(),
            left: HashSet::new(),
            looked: None,
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

    /// Matches that a collection at all processes found, or no longer found, although the programs had not told so.
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

    /// Whether a process matches.
    pub(crate) fn has(&self, identity: &Identity) -> bool {
        self.members.contains_key(identity)
    }

    /// Those that are over since the last time, in the order in which it was learnt.
    pub(crate) fn take_over(&mut self) -> Vec<ProcessEnd> {
        let over = std::mem::take(&mut self.over);
        self.left =
            over.iter().filter(|over| over.how == EndKind::Deselected).map(|over| over.identity).collect();
        over
    }

    /// Those that are over since the last collection.
    pub(crate) fn over(&self) -> &[ProcessEnd] {
        &self.over
    }

    /// Takes in what the programs told, and looks at all processes where that is due. An error when /proc as a whole
    /// can't be read, or this process has no descriptors or memory left. `began` is when the collection began, in clock ticks
    /// after boot.
    pub(crate) fn update(&mut self, began: u64) -> io::Result<MissingValues> {
        self.patience = Patience::default();
        self.follow()?;
        let follows = self.kernel.as_ref().is_some_and(Kernel::follows_processes);
        let is_due = self.scanned.is_none_or(|scanned| scanned.elapsed() >= SCAN_INTERVAL);
        if !follows || is_due || self.is_incomplete {
            self.scan(follows)?;
        }
        self.watch_more();
        self.looked = Some(began);
        Ok(self.hidden.clone())
    }

    /// A collection found a member gone. The programs have told so by now, or soon will; but they do not see everything.
    /// Whether it lives all the same, where this process may not see it.
    pub(crate) fn gone(&mut self, identity: Identity) -> bool {
        let Some(member) = self.members.get_mut(&identity) else { return false };
        let follows = self.kernel.as_ref().is_some_and(Kernel::follows_processes);
        if let (Some(kernel), Ok(watch)) = (&self.kernel, &member.watch)
            && self.proc.hides_processes()
            && kernel.slot(Tgid(identity.pid)) == Some(watch.slot())
        {
            return true;
        }
        if !follows || member.watch.is_err() || std::mem::replace(&mut member.was_gone, true) {
            self.finish(identity, EndKind::Exited(Exit::Unknown), Totals::default());
        }
        false
    }

    /// Takes in a process that matches, if it is new; or its names. `is_now` says that it just began to match.
    fn admit(&mut self, found: Match, is_counted: bool, is_now: bool) {
        let identity = found.identity;
        if let Some(member) = self.members.get_mut(&identity) {
            member.rename(found);
            member.is_counted |= is_counted;
            return;
        }
        let watch = self.watch(identity);
        let now = if is_now { self.read_with(identity, watch.as_ref().ok()) } else { None };
        // A program that a process executes may match by what only the agent knows: it left and came back at once, and
        // all that the kernel accounts for it goes on.
        let just_now = |over: &&ProcessEnd| self.boot.time(since_boot()) <= over.at + AT_ONCE;
        let left =
            self.over.iter().rfind(|over| over.identity == identity && over.how == EndKind::Deselected);
        let left = left.filter(just_now);
        let first = match (left, now) {
            (Some(left), Some(now)) => Some(left.last.with_counts_of(&now)),
            (_, now) => now,
        };
        self.insert(found, first, watch, is_counted);
    }

    fn insert(
        &mut self,
        found: Match,
        first: Option<Totals>,
        watch: Result<SlotHandle, NotTracked>,
        is_counted: bool,
    ) {
        let Match { identity, group, name, executable, invocation, .. } = found;
        tracing::debug!("{name:?} {} began to match, {watch:?}", identity.pid);
        let (storage, was_gone) = (None, false);
        let is_given = |watch: &SlotHandle| self.kernel.as_ref().is_some_and(|kernel| kernel.is_whole(watch));
        let is_whole = watch.as_ref().is_ok_and(is_given);
        let first = if self.is_young(&identity) { Some(Totals::of(|_| Some(0))) } else { first };
        let member = Member {
            identity,
            name,
            executable,
            invocation,
            attributes: None,
            group,
            first,
            watch,
            is_whole,
            storage,
            is_counted,
            was_gone,
            held: None,
            bounds: Known::default(),
            is_stale: false,
            rest: Rest::default(),
        };
        self.ids.insert(identity.pid, identity);
        self.members.insert(identity, member);
    }

    /// Whether a process that begins to match started since the last collection: all that it did until now counts too, whatever
    /// program it was. Of one that has matched before, that is in the totals.
    fn is_young(&self, identity: &Identity) -> bool {
        let is_new = self.looked.is_some_and(|looked| identity.start_ticks >= looked);
        is_new && !self.left.contains(identity) && !self.over.iter().any(|over| over.identity == *identity)
    }

    /// A member is over; `last` is what is known of its end.
    fn finish(&mut self, identity: Identity, how: EndKind, last: Totals) {
        let Some(member) = self.members.remove(&identity) else { return };
        if self.ids.get(&identity.pid) == Some(&identity) {
            self.ids.remove(&identity.pid);
        }
        let Member { name, executable, group, first, watch, is_whole, is_counted, .. } = member;
        tracing::debug!("{name:?} {} is over: {how:?}, {watch:?}", identity.pid);
        let mut last = last;
        match (&mut self.kernel, watch) {
            (Some(kernel), Ok(watch)) => {
                let variants = kernel.variants();
                if variants.context_switches != Variant::None {
                    let mut counts = kernel.totals(&watch);
                    // The kernel accounts for a thread's last switch a moment before a program sees it. Where it let go of
                    // the thread just then, the switch is missing here, and not there.
                    if is_whole && matches!(how, EndKind::Exited(_)) {
                        let accounted = [Counter::Voluntary, Counter::Involuntary].map(|kind| last.get(kind));
                        let accounted: u64 = accounted.into_iter().flatten().sum();
                        counts.voluntary += accounted.saturating_sub(counts.voluntary + counts.involuntary);
                    }
                    let block_io = (variants.block_io != Variant::None).then_some(&counts);
                    let switches = Switches::from(&counts);
                    last = last.with(Readings { switches: Some(&switches), block_io, ..Readings::default() });
                }
                kernel.release(watch);
            }
            (Some(kernel), Err(NotTracked::NoFreeSlot)) if !is_counted => kernel.count_no_free_slot(),
            _ => {}
        }
        let start = of_ticks(identity.start_ticks);
        self.over.push(ProcessEnd {
            identity,
            name,
            executable,
            group,
            how,
            started: self.boot.time(start),
            at: SystemTime::now(),
            lasted: since_boot().saturating_sub(start),
            peak_bytes: None,
            first,
            last,
        });
    }

    fn holder(&self, slot: Slot) -> Option<TrackedProcess> {
        self.kernel.as_ref()?.tracked_process(slot)
    }
}

impl TrackedProcess {
    fn identity(&self) -> Identity {
        Identity { pid: self.tgid.0, start_ticks: self.start_ticks }
    }
}

/// The error of a collection for which this process has not the means.
pub(crate) fn exhausted() -> io::Error {
    io::Error::other("no file descriptors or memory left for this process: raise `ulimit -n`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::fixtures::nothing;

    fn found(start_ticks: u64) -> Match {
        let identity = Identity { pid: 7, start_ticks };
        let (name, executable) = ("M8RefSvr".into(), None);
        Match { identity, parent: None, group: 0, name, executable, invocation: None }
    }

    #[test]
    fn another_program_takes_the_place_of_the_one_before_until_the_process_is_described() {
        let selector = Selector::new(&["M8RefSvr".into()], &[]).unwrap();
        let mut tracker = Tracker::new(Proc::new("/nowhere"), selector, None);
        let mut executes = |command: &str, is_described: bool| {
            let command = Some(command.into());
            let invocation = Some(Box::new(Invocation { command, ..Invocation::default() }));
            let name = "another".into();
            tracker.admit(Match { invocation, name, ..found(50) }, false, true);
            let member = tracker.members.get_mut(&found(50).identity).unwrap();
            if is_described {
                member.attributes = Some(Arc::default());
                member.invocation = None;
            }
            assert_eq!(&*member.name, "another");
            member.invocation.as_ref().and_then(|it| it.command.clone())
        };
        assert_eq!(executes("/bin/a", false).as_deref(), Some("/bin/a"));
        assert_eq!(executes("/bin/b", false).as_deref(), Some("/bin/b"));
        assert_eq!(executes("/bin/b", true), None);
        assert_eq!(executes("/bin/c", false), None);
    }

    #[test]
    fn all_that_a_process_did_counts_if_it_started_since_the_look_before_it_matched() {
        let selector = Selector::new(&["M8RefSvr".into()], &[]).unwrap();
        let mut tracker = Tracker::new(Proc::new("/nowhere"), selector, None);
        let first = |tracker: &mut Tracker, start_ticks| {
            tracker.admit(found(start_ticks), false, true);
            tracker.members[&found(start_ticks).identity].first
        };
        assert_eq!(first(&mut tracker, 50), None, "before the first collection");
        tracker.looked = Some(100);
        assert_eq!(first(&mut tracker, 99), None);
        assert_eq!(first(&mut tracker, 100), nothing());
        // One that comes back began to match with what it had then.
        let identity = found(100).identity;
        tracker.finish(identity, EndKind::Deselected, Totals::default());
        assert_eq!(first(&mut tracker, 100), None);
        tracker.finish(identity, EndKind::Deselected, Totals::default());
        tracker.take_over();
        assert_eq!(first(&mut tracker, 100), None);
    }
}
