//! Totals since the agent's start, which never decrease. A pure function of the samples it receives: it knows neither
//! the kernel nor the exports.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    metrics::churn::{Change, Churn},
    model::{
        counters::{Account, Totals},
        exit::EndKind,
        identity::Identity,
        sample::Sample,
    },
    sys::boot_clock::of_ticks,
};

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
}

#[derive(Clone, Copy, Debug)]
struct CollectionTime {
    at: SystemTime,
    began: Instant,
}

#[derive(Clone, Debug, Default)]
struct Group {
    account: Account,
    churn: Churn,
}

#[derive(Debug, Default)]
struct Entry {
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
        }
    }

    /// Adds a sample. The work of a process counts from when it began to match, as far as that is known. A process is
    /// kept until the sample reports its end, even if a collection missed it.
    pub fn record(&mut self, sample: &Sample) {
        let time = CollectionTime { at: sample.at, began: sample.began };
        self.before = self.last.replace(time);
        self.groups.iter_mut().for_each(|group| group.account.turn());
        self.processes.values_mut().for_each(|entry| entry.account.turn());
        let mut changes = vec![Vec::new(); self.groups.len()];
        let mut change = |group: usize, change: Change| changes.get_mut(group).map(|them| them.push(change));
        let mut left = HashMap::new();
        for end in &sample.ends {
            let is_new = self.grow(&end.identity, end.group, end.first.as_ref(), &end.last, &left);
            if let EndKind::Exited(exit) = end.how {
                if is_new {
                    // Exact where there is an exit record.
                    let started = end.at.checked_sub(end.lasted).unwrap_or(end.started);
                    change(end.group, Change { at: started, exit: None });
                }
                change(end.group, Change { at: end.at, exit: Some(exit) });
            }
            let entry = self.processes.remove(&end.identity);
            if !is_new {
                left.extend(entry.map(|entry| (end.identity, entry.account)));
            }
        }
        for process in &sample.processes {
            let first = process.first.as_ref();
            let is_new = self.grow(&process.identity, process.group, first, &process.counters, &left);
            if is_new {
                // /proc has the start in clock ticks, rounded down.
                change(process.group, Change { at: process.started + of_ticks(1), exit: None });
            }
        }
        for (group, changes) in self.groups.iter_mut().zip(changes) {
            group.churn.record(changes);
        }
    }

    /// Adds what a process did to its totals and those of its group. Returns whether it began to match since the
    /// previous collection. `left` has the accounts of processes that exited or were deselected since then: an
    /// account continues if its process matches again.
    fn grow(
        &mut self,
        identity: &Identity,
        group: usize,
        first: Option<&Totals>,
        seen: &Totals,
        left: &HashMap<Identity, Account>,
    ) -> bool {
        let is_new = !self.processes.contains_key(identity);
        let entry = self.processes.entry(*identity).or_insert_with(|| {
            Box::new(Entry {
                // Without a known start, the totals grow from the first reading.
                seen: first.copied().unwrap_or_default(),
                account: left.get(identity).copied().unwrap_or_default(),
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
        entry.account.now = entry.account.now.plus(&grown);
        if let Some(group) = self.groups.get_mut(group) {
            group.account.now = group.account.now.plus(&grown);
        }
        is_new && !left.contains_key(identity) && self.before.is_some()
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

    pub fn elapsed(&self) -> Option<Duration> {
        Some(self.last?.began.saturating_duration_since(self.before?.began))
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
