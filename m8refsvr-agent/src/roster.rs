//! Which processes match at this moment, and which are over since the last look: from what the kernel's programs tell
//! as it happens, and from the list of all processes where they can't tell. Knows nothing of what becomes of either.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::fd::OwnedFd,
    time::{Duration, Instant, SystemTime},
};

use m8refsvr_common::record::{Bytes, Counts, Form, Life, State};
use rustix::param::page_size;

use crate::{
    absence::Absences,
    boot::{Boot, since_boot},
    exit::{Exit, How, Over},
    kernel::{Happened, Holder, Kernel, NotWatched, Switches, Watch},
    proc::{
        Proc, Process, Unreadable,
        identity::Names,
        stat::{Stat, of_ticks},
        switches::ThreadSwitches,
    },
    sample::Identity,
    selector::Selector,
    storage::{self, Offset},
    totals::Totals,
};

/// How often all processes are looked at although the programs tell of those that begin to match.
const SCAN_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// A process that executes a program which matches by what only the agent knows is decided about within this time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The matching processes.
#[derive(Debug)]
pub(crate) struct Roster {
    pub(crate) proc: Proc,
    pub(crate) selector: Selector,
    pub(crate) kernel: Option<Kernel>,
    members: HashMap<Identity, Member>,
    /// The member with an id; of two, the later.
    ids: HashMap<u32, Identity>,
    /// Those that are over since the last look.
    over: Vec<Over>,
    own_pid: u32,
    boot: Boot,
    /// When all processes were looked at.
    scanned: Option<Instant>,
    /// Whether something happened that the programs had no room to tell.
    is_incomplete: bool,
    corrections: u64,
    /// What the last look at all processes could not see.
    hidden: Absences,
    buffer: Vec<u8>,
}

/// A process that matches.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) identity: Identity,
    /// Its name, as to be shown.
    pub(crate) name: String,
    /// File name of its executable; `None` without the right to know it.
    pub(crate) executable: Option<String>,
    /// The pattern that selected it, by its place.
    pub(crate) group: usize,
    /// What it had when it began to match; `None` where that is not known.
    pub(crate) first: Option<Totals>,
    /// How the programs count for it.
    pub(crate) watch: Result<Watch, NotWatched>,
    /// Where it has matching children: how to read its storage I/O without theirs.
    pub(crate) storage: Option<Offset>,
    /// Whether it is counted as lost, if it found no free slot.
    is_counted: bool,
    /// Whether the last look found it gone.
    was_gone: bool,
}

/// A process whose names match.
struct Match {
    identity: Identity,
    /// The process that waits for its end, or that forked it.
    parent: Option<u32>,
    group: usize,
    name: String,
    executable: Option<String>,
}

impl Roster {
    pub(crate) fn new(proc: Proc, selector: Selector, kernel: Option<Kernel>) -> Self {
        let own_pid = fs::read_link(proc.root().join("self"))
            .ok()
            .and_then(|pid| pid.to_str()?.parse().ok())
            .unwrap_or_else(std::process::id);
        Self {
            proc,
            selector,
            kernel,
            members: HashMap::new(),
            ids: HashMap::new(),
            over: Vec::new(),
            own_pid,
            boot: Boot::of_this_machine(),
            scanned: None,
            is_incomplete: false,
            corrections: 0,
            hidden: Absences::default(),
            buffer: Vec::new(),
        }
    }

    /// Matches that a look at all processes found, or no longer found, although the programs had not told so.
    pub(crate) fn corrections(&self) -> u64 {
        self.corrections
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

    /// Those that match, by process id.
    pub(crate) fn members(&self) -> Vec<&Member> {
        let mut members: Vec<&Member> = self.members.values().collect();
        members.sort_unstable_by_key(|member| member.identity);
        members
    }

    /// Whether a process matches.
    pub(crate) fn has(&self, identity: &Identity) -> bool {
        self.members.contains_key(identity)
    }

    /// Those that are over since the last time, in the order in which it was learnt.
    pub(crate) fn take_over(&mut self) -> Vec<Over> {
        std::mem::take(&mut self.over)
    }

    /// Those that are over since the last look.
    pub(crate) fn over(&self) -> &[Over] {
        &self.over
    }

    /// Takes in what the programs told, and looks at all processes where that is due. An error when /proc as a whole
    /// can't be read, or this process has no descriptors or memory left.
    pub(crate) fn update(&mut self) -> io::Result<Absences> {
        self.follow()?;
        let follows = self.kernel.as_ref().is_some_and(Kernel::follows_processes);
        let is_due = self.scanned.is_none_or(|scanned| scanned.elapsed() >= SCAN_INTERVAL);
        if !follows || is_due || self.is_incomplete {
            self.scan(follows)?;
        }
        self.watch_more();
        Ok(self.hidden.clone())
    }

    /// Takes in what the programs told.
    pub(crate) fn follow(&mut self) -> io::Result<()> {
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        let news = kernel.news();
        self.is_incomplete |= news.is_incomplete;
        let outcome = self.latest(news.happened).into_iter().try_for_each(|happened| match happened {
            Happened::Began(slot) => self.began(slot),
            Happened::Over(slot) => {
                self.slot_over(slot);
                Ok(())
            }
            Happened::Unclear(pid) => self.decide(pid, false),
            Happened::NoSlot(pid) => self.decide(pid, true),
        });
        // What was not taken in is to be looked for.
        self.is_incomplete |= outcome.is_err();
        outcome
    }

    /// Leaves out that a process is to be decided about where more is told of it later: the kernel gives a process its
    /// new name shortly before it executes another program.
    fn latest(&self, mut happened: Vec<Happened>) -> Vec<Happened> {
        let mut later = HashSet::new();
        happened.reverse();
        happened.retain(|&happened| match happened {
            Happened::Unclear(pid) => later.insert(pid),
            Happened::NoSlot(pid) => {
                later.insert(pid);
                true
            }
            Happened::Began(slot) => {
                later.extend(self.holder(slot).map(|holder| holder.tgid));
                true
            }
            Happened::Over(_) => true,
        });
        happened.reverse();
        happened
    }

    /// A look found a member gone. The programs have told so by now, or soon will; but they do not see everything.
    /// Whether it lives all the same, where this process may not see it.
    pub(crate) fn gone(&mut self, identity: Identity) -> bool {
        let Some(member) = self.members.get_mut(&identity) else { return false };
        let follows = self.kernel.as_ref().is_some_and(Kernel::follows_processes);
        if let (Some(kernel), Ok(watch)) = (&self.kernel, &member.watch)
            && self.proc.hides_processes()
            && kernel.slot(identity.pid) == Some(watch.slot())
        {
            return true;
        }
        if !follows || member.watch.is_err() || std::mem::replace(&mut member.was_gone, true) {
            self.finish(identity, How::Ended(Exit::Unknown), Totals::default());
        }
        false
    }

    /// A process got a slot, or executes another program and keeps it.
    fn began(&mut self, slot: u32) -> io::Result<()> {
        let Some(holder) = self.holder(slot) else { return Ok(()) };
        let identity = holder.identity();
        let names = match self.find(identity.pid) {
            Ok(Some(found)) if found.identity == identity => Some(found),
            Err(Unreadable::Exhausted) => return Err(exhausted()),
            Ok(Some(_)) | Err(_) => None,
            // Its names do not match; if it is still what it was.
            Ok(None) => match self.holder(slot) {
                Some(now) if now.state == State::Living && self.is_alive(identity) => {
                    self.reject(identity, slot);
                    return Ok(());
                }
                _ => None,
            },
        };
        self.enter(slot, &holder, names);
        Ok(())
    }

    /// Takes in the holder of a slot, under the names that were found of it, or under what the programs noted.
    fn enter(&mut self, slot: u32, holder: &Holder, names: Option<Match>) {
        let identity = holder.identity();
        let Some(kernel) = &mut self.kernel else { return };
        if let Some(member) = self.members.get_mut(&identity) {
            if let Some(Match { group, name, executable, .. }) = names {
                (member.group, member.name, member.executable) = (group, name, executable);
            }
            if !member.watch.as_ref().is_ok_and(|watch| watch.slot() == slot) {
                let old = std::mem::replace(&mut member.watch, Ok(kernel.adopt(slot)));
                old.into_iter().for_each(|watch| kernel.release(watch));
            }
            return;
        }
        let Some(found) = names.or_else(|| self.by_comm(holder)) else {
            return self.reject(identity, slot);
        };
        let Some(kernel) = &mut self.kernel else { return };
        let Match { group, name, executable, .. } = found;
        let first = Totals::of_figures(&holder.life.first, kernel.has_storage());
        let has_block_io = kernel.forms().block_io != Form::None;
        let counts = Counts {
            voluntary: holder.life.first.voluntary,
            involuntary: holder.life.first.involuntary,
            ..Counts::default()
        };
        let first = Some(first.with_counts(&counts, has_block_io));
        let watch = Ok(kernel.adopt(slot));
        self.insert(Member {
            identity,
            name,
            executable,
            group,
            first,
            watch,
            storage: None,
            is_counted: false,
            was_gone: false,
        });
        self.has_child(holder.parent);
    }

    /// What the programs noted of a process, where its names can't be read any more: by its `comm`, or as its parent.
    fn by_comm(&self, holder: &Holder) -> Option<Match> {
        let names = Names { comm: holder.comm.clone(), executable: None, argv0: None };
        let of_parent = || {
            let parent = holder.parent?;
            let living = self.ids.get(&parent).and_then(|identity| self.members.get(identity));
            let over = || self.over.iter().rev().find(|over| over.identity.pid == parent);
            living.map(|member| member.group).or_else(|| Some(over()?.group))
        };
        let group = self.selector.select(&names).or_else(of_parent)?;
        let identity = holder.identity();
        Some(Match { identity, parent: holder.parent, group, name: names.shown(), executable: None })
    }

    /// A process has a slot, but does not match by all that is known of it.
    fn reject(&mut self, identity: Identity, slot: u32) {
        if self.members.contains_key(&identity) {
            let last = self.read(identity).unwrap_or_default();
            return self.finish(identity, How::Left, last);
        }
        tracing::debug!("{} in slot {slot} does not match", identity.pid);
        if let Some(kernel) = &mut self.kernel {
            let watch = kernel.adopt(slot);
            kernel.release(watch);
        }
    }

    /// The holder of a slot is over, or lost its id to another process.
    fn slot_over(&mut self, slot: u32) {
        let Some(holder) = self.holder(slot) else { return };
        let identity = holder.identity();
        let Some(kernel) = &self.kernel else { return };
        if holder.state == State::Living {
            // Its end was not seen; unless it holds the slot again.
            if kernel.slot(identity.pid) == Some(slot) {
                return;
            }
            match self.members.contains_key(&identity) {
                true => self.finish(identity, How::Ended(Exit::Unknown), Totals::default()),
                false => self.reject(identity, slot),
            }
            return;
        }
        if !self.members.contains_key(&identity) {
            // It was over before its beginning was told.
            self.enter(slot, &holder, None);
        }
        let Some(kernel) = &self.kernel else { return };
        let last = Totals::of_figures(&holder.life.last, kernel.has_storage());
        let offset = self.members.get(&identity).and_then(|member| member.storage);
        let last = offset.map_or(last, |offset| last.with_storage(&offset.with(holder.life.own)));
        let how = match holder.state {
            State::Left => How::Left,
            _ => How::Ended(Exit::of_status(holder.life.status)),
        };
        self.finish(identity, how, last);
        if let Some(over) = self.over.last_mut().filter(|over| over.identity == identity) {
            let nanoseconds = Duration::from_nanos;
            let (start, end) = (nanoseconds(holder.life.start), nanoseconds(holder.life.end));
            let start = if start.is_zero() { of_ticks(identity.start_ticks) } else { start };
            // Of one that was already ending when it got its slot, the end was not noted.
            let end = if end < start { since_boot() } else { end };
            over.at = self.boot.time(end);
            over.lasted = end.saturating_sub(start);
            // That of the program which it was before would stand there too.
            let Life { peak_pages, first_peak_pages, .. } = holder.life;
            over.peak_bytes =
                (peak_pages > first_peak_pages).then(|| peak_pages.saturating_mul(page_size() as u64));
        }
    }

    /// Whether a process matches is to be decided by its names.
    fn decide(&mut self, pid: u32, is_counted: bool) -> io::Result<()> {
        // First, so that what happens from now on is told.
        if let Some(kernel) = &self.kernel {
            kernel.decided(pid);
        }
        match self.find(pid) {
            Ok(Some(found)) => {
                let parent = found.parent;
                self.admit(found, is_counted, true);
                self.has_child(parent);
            }
            Ok(None) => {
                if let Some(&identity) = self.ids.get(&pid)
                    && self.is_alive(identity)
                {
                    let last = self.read(identity).unwrap_or_default();
                    self.finish(identity, How::Left, last);
                    // Until its slot was taken from it, it could come back without being told of.
                    if let Ok(Some(found)) = self.find(pid) {
                        self.admit(found, false, true);
                    }
                }
            }
            Err(Unreadable::Exhausted) => return Err(exhausted()),
            Err(_) => {}
        }
        Ok(())
    }

    /// Takes in a process that matches, if it is new; or its names. `is_now` says that it just began to match.
    fn admit(&mut self, found: Match, is_counted: bool, is_now: bool) {
        let Match { identity, group, name, executable, .. } = found;
        if let Some(member) = self.members.get_mut(&identity) {
            (member.group, member.name, member.executable) = (group, name, executable);
            member.is_counted |= is_counted;
            return;
        }
        let watch = self.watch(identity);
        let now = self.read_with(identity, watch.as_ref().ok()).filter(|_| is_now);
        // A program that a process executes may match by what only the agent knows: it left and came back at once, and
        // all that the kernel accounts for it goes on.
        let just_now = |over: &&Over| self.boot.time(since_boot()) <= over.at + AT_ONCE;
        let left = self.over.iter().rfind(|over| over.identity == identity && over.how == How::Left);
        let left = left.filter(just_now);
        let first = match (left, now) {
            (Some(left), Some(now)) => Some(left.last.with_counts_of(&now)),
            (_, now) => now,
        };
        let (storage, was_gone) = (None, false);
        self.insert(Member {
            identity,
            name,
            executable,
            group,
            first,
            watch,
            storage,
            is_counted,
            was_gone,
        });
    }

    /// A process has a matching child: if it matches itself, its storage I/O is read without that of its children from
    /// now on.
    fn has_child(&mut self, parent: Option<u32>) {
        let Some(member) = parent.and_then(|parent| self.ids.get(&parent)) else { return };
        let Some(member) = self.members.get_mut(member).filter(|member| member.storage.is_none()) else {
            return;
        };
        let (Some(kernel), Ok(watch)) = (&self.kernel, &member.watch) else { return };
        if !kernel.follows_processes() || !kernel.has_storage() {
            return;
        }
        let proc = &self.proc;
        let is_there = |holder: &Holder| {
            let process = proc.process(holder.tgid).ok();
            let stat = process.and_then(|process| Stat::read(&process, &mut Vec::new()).ok());
            stat.is_some_and(|stat| stat.start_ticks == holder.start_ticks)
        };
        let of_children = || {
            let ended = kernel.holders().into_iter().filter_map(|slot| kernel.holder(slot));
            let waited_for = ended.filter(|holder| {
                holder.state == State::Ended && holder.parent == parent && !is_there(holder)
            });
            waited_for.fold(Bytes::default(), |sum, holder| Bytes {
                read: sum.read.wrapping_add(holder.life.last.read_bytes),
                written: sum.written.wrapping_add(holder.life.last.write_bytes),
            })
        };
        let process = proc.process(member.identity.pid).ok();
        let offset =
            process.and_then(|process| Offset::of(&process, kernel, watch, of_children, &mut self.buffer));
        // Of one that is over by now all threads were seen, if a program gave it its slot.
        member.storage = offset.or_else(|| kernel.is_whole(watch).then(Offset::default));
    }

    fn insert(&mut self, member: Member) {
        let Member { identity, name, watch, .. } = &member;
        tracing::debug!("{name:?} {} began to match, {watch:?}", identity.pid);
        self.ids.insert(member.identity.pid, member.identity);
        self.members.insert(member.identity, member);
    }

    /// A member is over; `last` is what is known of its end.
    fn finish(&mut self, identity: Identity, how: How, last: Totals) {
        let Some(member) = self.members.remove(&identity) else { return };
        if self.ids.get(&identity.pid) == Some(&identity) {
            self.ids.remove(&identity.pid);
        }
        let Member { name, group, first, watch, is_counted, .. } = member;
        tracing::debug!("{name:?} {} is over: {how:?}, {watch:?}", identity.pid);
        let mut last = last;
        match (&mut self.kernel, watch) {
            (Some(kernel), Ok(watch)) => {
                let forms = kernel.forms();
                if forms.context_switches != Form::None {
                    last = last.with_counts(&kernel.totals(&watch), forms.block_io != Form::None);
                }
                kernel.release(watch);
            }
            (Some(kernel), Err(NotWatched::NoFreeSlot)) if !is_counted => kernel.lose_process(),
            _ => {}
        }
        let start = of_ticks(identity.start_ticks);
        self.over.push(Over {
            identity,
            name,
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

    /// Looks at all processes.
    fn scan(&mut self, follows: bool) -> io::Result<()> {
        let is_first = self.scanned.is_none();
        // What is lost from now on may be of a process that this look has passed already.
        self.is_incomplete = false;
        let outcome = self.scan_all(follows, is_first);
        self.is_incomplete |= outcome.is_err();
        outcome
    }

    fn scan_all(&mut self, follows: bool, is_first: bool) -> io::Result<()> {
        let mut hidden = Absences::default();
        let mut pids = self.proc.pids()?;
        pids.sort_unstable();
        if self.proc.hides_processes() {
            hidden.hidden_by_mount();
        }
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for pid in pids {
            if follows && let Some(kernel) = &self.kernel {
                kernel.decided(pid);
            }
            match self.find(pid) {
                Ok(Some(one)) => {
                    seen.insert(one.identity);
                    found.push(one);
                }
                Ok(None) | Err(Unreadable::Gone) => {}
                Err(Unreadable::Exhausted) => return Err(exhausted()),
                Err(Unreadable::Denied | Unreadable::Unknown) => hidden.hide(),
            }
        }
        // What happened in the meantime is told already, and what was not told is found in the maps.
        if follows {
            self.follow()?;
            self.reconcile()?;
        }
        // First those that are over, so that their slots are free for those that have come.
        let unseen: Vec<Identity> =
            self.members.keys().filter(|identity| !seen.contains(identity)).copied().collect();
        for identity in unseen {
            if self.is_alive(identity) {
                match self.find(identity.pid) {
                    Ok(Some(now)) if now.identity == identity => continue,
                    Ok(None) => {
                        let last = self.read(identity).unwrap_or_default();
                        self.finish(identity, How::Left, last);
                    }
                    _ => continue,
                }
            } else if follows {
                self.gone(identity);
                continue;
            } else {
                self.finish(identity, How::Ended(Exit::Unknown), Totals::default());
            }
            self.corrections += u64::from(follows);
        }
        let parents: Vec<Option<u32>> = found.iter().map(|one| one.parent).collect();
        for one in found {
            let is_new = !self.members.contains_key(&one.identity);
            // One that is over since is not taken in again.
            if is_new && !(follows && self.over.iter().any(|over| over.identity == one.identity)) {
                self.corrections += u64::from(follows && !is_first);
                self.admit(one, false, false);
            }
        }
        parents.into_iter().for_each(|parent| self.has_child(parent));
        self.scanned = Some(Instant::now());
        self.hidden = hidden;
        Ok(())
    }

    /// Finds in the maps what was not told.
    fn reconcile(&mut self) -> io::Result<()> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        for slot in kernel.holders() {
            let Some(holder) = self.holder(slot) else { continue };
            let is_known = self
                .members
                .get(&holder.identity())
                .is_some_and(|member| member.watch.as_ref().is_ok_and(|watch| watch.slot() == slot));
            if !is_known && holder.state == State::Living {
                self.began(slot)?;
            }
            self.slot_over(slot);
        }
        Ok(())
    }

    /// Has the programs count for members for which they do not yet, as long as there are slots; and counts those for
    /// which there is none.
    fn watch_more(&mut self) {
        if self.kernel.is_none() {
            return;
        }
        let unwatched = self
            .members
            .values()
            .filter(|member| matches!(member.watch, Err(NotWatched::NoFreeSlot | NotWatched::Gone)));
        let unwatched: Vec<Identity> = unwatched.map(|member| member.identity).collect();
        let mut is_full = false;
        for identity in unwatched {
            let watch = if is_full { Err(NotWatched::NoFreeSlot) } else { self.watch(identity) };
            is_full = matches!(watch, Err(NotWatched::NoFreeSlot));
            let (Some(kernel), Some(member)) = (&self.kernel, self.members.get_mut(&identity)) else {
                continue;
            };
            if is_full && !std::mem::replace(&mut member.is_counted, true) {
                kernel.lose_process();
            }
            member.watch = watch;
        }
    }

    /// Has the programs count for a process.
    fn watch(&mut self, identity: Identity) -> Result<Watch, NotWatched> {
        let Some(kernel) = &mut self.kernel else { return Err(NotWatched::Gone) };
        let process = self.proc.process(identity.pid).map_err(|_| NotWatched::Gone)?;
        let buffer = &mut self.buffer;
        kernel.watch(identity.pid, identity.start_ticks, || {
            let read = ThreadSwitches::read(&process, buffer).ok()?;
            Some((Switches { voluntary: read.voluntary, involuntary: read.involuntary }, read.threads))
        })
    }

    /// What a process has now, as far as it goes into totals; but not what the programs count.
    fn read(&mut self, identity: Identity) -> Option<Totals> {
        let process = self.proc.process(identity.pid).ok()?;
        let member = self.members.get(&identity);
        let watched = self.kernel.as_ref().zip(member.and_then(|member| member.watch.as_ref().ok()));
        let offset = member.and_then(|member| member.storage);
        let storage = storage::read(&process, offset, watched, &mut self.buffer).ok();
        let stat = Stat::read(&process, &mut self.buffer).ok()?;
        (stat.start_ticks == identity.start_ticks).then(|| Totals::of_proc(&stat, storage.as_ref()))
    }

    /// What a process has now.
    fn read_with(&mut self, identity: Identity, watch: Option<&Watch>) -> Option<Totals> {
        let totals = self.read(identity)?;
        let Some((kernel, watch)) = self.kernel.as_ref().zip(watch) else { return Some(totals) };
        let forms = kernel.forms();
        if forms.context_switches == Form::None {
            return Some(totals);
        }
        Some(totals.with_counts(&kernel.totals(watch), forms.block_io != Form::None))
    }

    /// Whether a process matches.
    fn find(&mut self, pid: u32) -> Result<Option<Match>, Unreadable> {
        if pid == self.own_pid {
            return Ok(None);
        }
        let process = self.proc.process(pid)?;
        let stat = Stat::read(&process, &mut self.buffer)?;
        if stat.is_kernel_thread {
            return Ok(None);
        }
        if stat.is_zombie() {
            return Err(Unreadable::Gone);
        }
        let thread = if stat.has_no_leader() { process.living_thread(&mut self.buffer) } else { None };
        let names = Names::read(thread.as_ref().unwrap_or(&process), &stat.comm, &mut self.buffer);
        let identity = Identity { pid, start_ticks: stat.start_ticks };
        Ok(self.selector.select(&names).map(|group| Match {
            identity,
            parent: u32::try_from(stat.parent).ok().filter(|&parent| parent != 0),
            group,
            name: names.shown(),
            executable: names.executable.as_deref().map(|name| String::from_utf8_lossy(name).into_owned()),
        }))
    }

    fn is_alive(&mut self, identity: Identity) -> bool {
        let stat = |process: &Process, buffer: &mut Vec<u8>| Stat::read(process, buffer).ok();
        let process = self.proc.process(identity.pid).ok();
        let stat = process.and_then(|process| stat(&process, &mut self.buffer));
        stat.is_some_and(|stat| stat.start_ticks == identity.start_ticks && !stat.is_zombie())
    }

    fn holder(&self, slot: u32) -> Option<Holder> {
        self.kernel.as_ref()?.holder(slot).filter(|holder| holder.tgid != 0)
    }
}

impl Holder {
    fn identity(&self) -> Identity {
        Identity { pid: self.tgid, start_ticks: self.start_ticks }
    }
}

/// The error of a look for which this process has not the means.
pub(crate) fn exhausted() -> io::Error {
    io::Error::other("no file descriptors or memory left for this process: raise `ulimit -n`")
}
