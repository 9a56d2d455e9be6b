//! Totals since the agent's start, which never decrease. A pure function of the samples it receives: it knows neither
//! the kernel nor the exports.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    metrics::churn::{Change, ChangeKind, Churn},
    model::{
        counters::{Account, Totals},
        exit::{EndKind, Exit, ProcessEnd},
        identity::Identity,
        sample::{ProcessSample, Sample},
    },
    sys::boot_clock::{of_ticks, ticks},
};

/// Time that a process has from its fork until it matches, as it executes its program. If it began to match later, and
/// was there at the previous collection, it was selected rather than started.
const TO_BEGIN: Duration = Duration::from_secs(10);

/// Totals of each group and of each tracked process.
#[derive(Debug)]
pub struct Accumulator {
    /// Start time of all totals.
    started: SystemTime,
    groups: Vec<Group>,
    /// Boxed because up to half of a hash table's entries are empty.
    processes: HashMap<Identity, Box<Entry>>,
    last: Option<CollectionTime>,
    before: Option<CollectionTime>,
    /// The collection that was exported last; the first one until then.
    exported: Option<CollectionTime>,
}

#[derive(Clone, Copy, Debug)]
struct CollectionTime {
    at: SystemTime,
    began: Instant,
    began_ticks: u64,
}

/// A process that exited or was deselected since the previous collection.
struct Left {
    account: Account,
    /// The group that it was deselected from, and when; `None` if it exited.
    deselected: Option<(usize, SystemTime)>,
}

/// What a sample shows of each group's gains and losses.
struct Changes {
    of_groups: Vec<Vec<Change>>,
    /// Start of the previous collection, in clock ticks after boot.
    previous_ticks: Option<u64>,
}

impl Changes {
    fn add(&mut self, group: usize, at: SystemTime, kind: ChangeKind, has_parent: bool) {
        if let Some(changes) = self.of_groups.get_mut(group) {
            changes.push(Change { at, kind, has_parent });
        }
    }

    /// Adds that a process is in a group since `at`. `earlier` is the group in which it was before.
    fn came(
        &mut self,
        earlier: Option<usize>,
        identity: &Identity,
        group: usize,
        at: SystemTime,
        has_parent: bool,
    ) {
        match (earlier, self.previous_ticks) {
            (Some(earlier), _) if earlier == group => {}
            (Some(earlier), _) => {
                self.add(earlier, at, ChangeKind::Deselected, has_parent);
                self.add(group, at, ChangeKind::Selected, has_parent);
            }
            (None, Some(previous)) if identity.start_ticks.saturating_add(ticks(TO_BEGIN)) >= previous => {
                self.add(group, at, ChangeKind::Started, has_parent);
            }
            (None, Some(_)) => self.add(group, at, ChangeKind::Selected, has_parent),
            // Processes of the first collection were there before the agent.
            (None, None) => {}
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Group {
    account: Account,
    churn: Churn,
}

#[derive(Debug, Default)]
struct Entry {
    group: usize,
    /// Its counters at the last collection that could read them.
    seen: Totals,
    account: Account,
}

impl Accumulator {
    /// Starts at zero, for this many groups.
    pub fn new(started: SystemTime, groups: usize) -> Self {
        Self {
            started,
            groups: vec![Group::default(); groups],
            processes: HashMap::new(),
            last: None,
            before: None,
            exported: None,
        }
    }

    /// Adds a sample. `was_exported` is whether the sample before it was exported. The work of a process counts from
    /// when it began to match, as far as that is known. A process is kept until the sample reports its end, even if a
    /// collection missed it.
    pub fn record(&mut self, sample: &Sample, was_exported: bool) {
        let time = CollectionTime { at: sample.at, began: sample.began, began_ticks: sample.began_ticks };
        self.before = self.last.replace(time);
        if was_exported || self.exported.is_none() {
            self.exported = self.before;
        }
        self.groups.iter_mut().for_each(|group| group.account.begin_collection(was_exported));
        self.processes.values_mut().for_each(|entry| entry.account.begin_collection(was_exported));
        let mut changes = Changes {
            of_groups: vec![Vec::new(); self.groups.len()],
            previous_ticks: self.before.map(|previous| previous.began_ticks),
        };
        let mut left: HashMap<Identity, Left> = HashMap::new();
        for end in &sample.ends {
            let ProcessEnd { identity, group, how, at, has_parent, .. } = end;
            let earlier = self.grow(identity, *group, end.first.as_ref(), &end.last, &left);
            // A process that comes and is deselected between two collections is no change, as a child that is forked
            // and executes another program.
            let is_seen = earlier.is_some() || *how != EndKind::Deselected;
            if is_seen {
                // Exact where there is an exit record.
                let started = at.checked_sub(end.lasted).unwrap_or(end.started);
                let came = if earlier.is_none() { started } else { *at };
                changes.came(earlier, identity, *group, came, *has_parent);
            }
            if earlier.is_none() && changes.previous_ticks.is_none() && is_seen {
                // It was there before the agent, and is in no collection.
                changes.add(*group, *at, ChangeKind::Selected, *has_parent);
            }
            let deselected = match how {
                EndKind::Exited(exit) => {
                    // Without an exit record it happened at any time since the previous collection, and what started
                    // meanwhile may well have taken its place.
                    let earliest = self.before.filter(|_| *exit == Exit::Unknown && earlier.is_some());
                    let at = earliest.map_or(*at, |previous| previous.at);
                    changes.add(*group, at, ChangeKind::Exited(*exit), *has_parent);
                    None
                }
                EndKind::Deselected => Some((*group, *at)),
            };
            let entry = self.processes.remove(identity).filter(|_| earlier.is_some());
            left.extend(entry.map(|entry| (*identity, Left { account: entry.account, deselected })));
        }
        for process in &sample.processes {
            let ProcessSample { identity, group, started, has_parent, .. } = process;
            let earlier = self.grow(identity, *group, process.first.as_ref(), &process.counters, &left);
            // /proc has the start in clock ticks, rounded down.
            changes.came(earlier, identity, *group, *started + of_ticks(1), *has_parent);
            left.remove(identity);
        }
        for (group, at) in left.into_values().filter_map(|left| left.deselected) {
            changes.add(group, at, ChangeKind::Deselected, false);
        }
        for (group, changes) in self.groups.iter_mut().zip(changes.of_groups) {
            group.churn.record(changes);
        }
    }

    /// Adds what a process did to its totals and those of its group. Returns the group in which it was before. `left`
    /// has processes that exited or were deselected since the previous collection: an account continues if its process
    /// matches again.
    fn grow(
        &mut self,
        identity: &Identity,
        group: usize,
        first: Option<&Totals>,
        seen: &Totals,
        left: &HashMap<Identity, Left>,
    ) -> Option<usize> {
        let known = self.processes.get(identity).map(|entry| entry.group);
        let earlier = known.or_else(|| Some(left.get(identity)?.deselected?.0));
        let entry = self.processes.entry(*identity).or_insert_with(|| {
            Box::new(Entry {
                group,
                // Without a known start, the totals grow from the first reading.
                seen: first.copied().unwrap_or_default(),
                account: left.get(identity).map(|left| left.account).unwrap_or_default(),
            })
        });
        let seen = seen.balanced(&entry.seen);
        // A value can fall: context switches of living threads do when a thread exits. Growth then counts from
        // the lower value.
        let grown = Totals::of(|counter| {
            let seen = seen.get(counter)?;
            Some(seen.saturating_sub(entry.seen.get(counter).unwrap_or(seen)))
        });
        entry.seen = seen.or(&entry.seen);
        entry.group = group;
        entry.account.grow(&grown);
        if let Some(group) = self.groups.get_mut(group) {
            group.account.grow(&grown);
        }
        earlier
    }

    /// Moves the start of all totals back. Needed when the clock was set back, so that no report is earlier than its
    /// start.
    pub fn started_at(&mut self, started: SystemTime) {
        self.started = started;
    }

    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Time of the collection before the last.
    pub fn previous_collection_at(&self) -> Option<SystemTime> {
        self.before.map(|time| time.at)
    }

    /// Time since the collection that was exported last.
    pub fn elapsed(&self) -> Option<Duration> {
        Some(self.last?.began.saturating_duration_since(self.exported?.began))
    }

    /// Totals of a group, exited processes included.
    pub fn group(&self, group: usize) -> Account {
        self.groups.get(group).map(|group| group.account).unwrap_or_default()
    }

    pub fn churn(&self, group: usize) -> Option<&Churn> {
        self.groups.get(group).map(|group| &group.churn)
    }

    pub fn process(&self, identity: &Identity) -> Account {
        self.processes.get(identity).map(|entry| entry.account).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
