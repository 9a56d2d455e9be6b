//! Totals since the agent's start, which never go backwards: a pure function of the looks that it is told of. Knows
//! neither the kernel nor the ways out.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use crate::sample::{Identity, ProcessSample, Sample};

/// What only grows while a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// CPU time in user mode, nanoseconds.
    CpuUser,
    /// CPU time in the kernel, nanoseconds.
    CpuSystem,
    /// Page faults without input.
    MinorFaults,
    /// Page faults with input.
    MajorFaults,
    /// Bytes fetched from storage.
    StorageRead,
    /// Bytes of pages made dirty.
    StorageWrite,
    /// Bytes in read requests to block devices.
    BlockRead,
    /// Bytes in write requests to block devices.
    BlockWrite,
    /// Read requests to block devices.
    BlockReads,
    /// Write requests to block devices.
    BlockWrites,
    /// Context switches in which a thread began to wait.
    Voluntary,
    /// Context switches in which a thread was preempted or yielded.
    Involuntary,
}

impl Counter {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::CpuUser,
        Self::CpuSystem,
        Self::MinorFaults,
        Self::MajorFaults,
        Self::StorageRead,
        Self::StorageWrite,
        Self::BlockRead,
        Self::BlockWrite,
        Self::BlockReads,
        Self::BlockWrites,
        Self::Voluntary,
        Self::Involuntary,
    ];

    /// Whether it is one of block I/O, which /proc knows nothing of.
    pub fn is_block_io(self) -> bool {
        matches!(self, Self::BlockRead | Self::BlockWrite | Self::BlockReads | Self::BlockWrites)
    }

    /// What a look saw of it.
    fn seen(self, process: &ProcessSample) -> Option<u64> {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match self {
            Self::CpuUser => Some(nanoseconds(process.cpu_user)),
            Self::CpuSystem => Some(nanoseconds(process.cpu_system)),
            Self::MinorFaults => Some(process.minor_faults),
            Self::MajorFaults => Some(process.major_faults),
            Self::StorageRead => Some(process.storage?.read_bytes),
            Self::StorageWrite => Some(process.storage?.write_bytes),
            Self::BlockRead => Some(process.block?.read_bytes),
            Self::BlockWrite => Some(process.block?.write_bytes),
            Self::BlockReads => Some(process.block?.read_operations),
            Self::BlockWrites => Some(process.block?.write_operations),
            Self::Voluntary => Some(process.switches?.voluntary),
            Self::Involuntary => Some(process.switches?.involuntary),
        }
    }
}

/// A number for each [`Counter`]; `None` where none could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals([Option<u64>; Counter::ALL.len()]);

impl Totals {
    /// One made of what `number` says.
    pub fn of(number: impl FnMut(Counter) -> Option<u64>) -> Self {
        Self(Counter::ALL.map(number))
    }

    /// One of its numbers.
    pub fn get(&self, counter: Counter) -> Option<u64> {
        self.0[counter as usize]
    }

    /// Less `other`, where it has a number; never below 0.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self::of(|counter| Some(self.get(counter)?.saturating_sub(other.get(counter).unwrap_or_default())))
    }

    /// With `other` where that has a number.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self::of(|counter| match (self.get(counter), other.get(counter)) {
            (Some(own), Some(other)) => Some(own.saturating_add(other)),
            (own, other) => own.or(other),
        })
    }
}

/// A total, and what it was at the look before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// At the last look.
    pub now: Totals,
    /// At the look before.
    pub before: Totals,
}

impl Account {
    /// One that did not change.
    pub fn steady(totals: Totals) -> Self {
        Self { now: totals, before: totals }
    }

    /// Less `other`, where it has a number.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self { now: self.now.minus(&other.now), before: self.before.minus(&other.before) }
    }

    /// With `other`.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self { now: self.now.plus(&other.now), before: self.before.plus(&other.before) }
    }

    fn turn(&mut self) {
        self.before = self.now;
    }
}

/// The totals of each group, and of each living process.
#[derive(Debug)]
pub struct Ledger {
    /// When everything was 0.
    started: SystemTime,
    groups: Vec<Account>,
    processes: HashMap<Identity, Entry>,
    last: Option<Look>,
    before: Option<Look>,
}

/// When a look was.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: SystemTime,
    began: Instant,
    /// The same in clock ticks after boot.
    ticks: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// What the last look that could read it saw.
    seen: Totals,
    account: Account,
}

impl Ledger {
    /// An empty one for so many groups, at the agent's start.
    pub fn new(started: SystemTime, groups: usize) -> Self {
        Self {
            started,
            groups: vec![Account::default(); groups],
            processes: HashMap::new(),
            last: None,
            before: None,
        }
    }

    /// Takes in a look. Of a process that started since the look before, everything counts; of one that was there and
    /// was not seen to match, only what it does from now on.
    pub fn record(&mut self, sample: &Sample) {
        let look = Look { at: sample.at, began: sample.began, ticks: sample.began_ticks };
        self.before = self.last.replace(look);
        self.groups.iter_mut().for_each(Account::turn);
        let mut earlier = std::mem::take(&mut self.processes);
        for process in &sample.processes {
            let seen = Totals::of(|counter| counter.seen(process));
            let is_young = self.before.is_some_and(|before| process.identity.start_ticks >= before.ticks);
            let mut entry = earlier.remove(&process.identity).unwrap_or_else(|| Entry {
                seen: if is_young { Totals::of(|_| Some(0)) } else { seen },
                account: Account::default(),
            });
            // Where there was no number yet, what is seen first is the start. A number that fell, as that of the
            // living threads' switches does, starts anew.
            let grown = Totals::of(|counter| {
                let seen = seen.get(counter)?;
                Some(seen.saturating_sub(entry.seen.get(counter).unwrap_or(seen)))
            });
            entry.seen = Totals::of(|counter| seen.get(counter).or(entry.seen.get(counter)));
            entry.account.turn();
            entry.account.now = entry.account.now.plus(&grown);
            if let Some(group) = self.groups.get_mut(process.group) {
                group.now = group.now.plus(&grown);
            }
            self.processes.insert(process.identity, entry);
        }
    }

    /// Where the clock was set back since then, so that the start would be later than what is told: the start is
    /// so much earlier.
    pub fn started_at(&mut self, started: SystemTime) {
        self.started = started;
    }

    /// When everything was 0.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// When the look before the last was.
    pub fn looked_before(&self) -> Option<SystemTime> {
        self.before.map(|look| look.at)
    }

    /// Time between the last look and the one before.
    pub fn elapsed(&self) -> Option<Duration> {
        Some(self.last?.began.saturating_duration_since(self.before?.began))
    }

    /// Totals of a group: of the processes that live and of those that have ended.
    pub fn group(&self, group: usize) -> Account {
        self.groups.get(group).copied().unwrap_or_default()
    }

    /// Totals of a process that the last look saw.
    pub fn process(&self, identity: &Identity) -> Account {
        self.processes.get(identity).map(|entry| entry.account).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::fixtures::{process, sample};

    fn user(account: &Account) -> u64 {
        account.now.get(Counter::CpuUser).unwrap() / 1_000_000_000
    }

    fn ledger(samples: &[Sample]) -> Ledger {
        let mut ledger = Ledger::new(SystemTime::UNIX_EPOCH, 1);
        samples.iter().for_each(|sample| ledger.record(sample));
        ledger
    }

    #[test]
    fn what_a_process_did_before_the_first_look_does_not_count() {
        let ledger = ledger(&[sample(100, [process(1, 50, 70)]), sample(200, [process(1, 50, 75)])]);
        assert_eq!(user(&ledger.group(0)), 5);
        assert_eq!(user(&ledger.process(&Identity { pid: 1, start_ticks: 50 })), 5);
    }

    #[test]
    fn all_that_a_process_did_counts_that_started_later() {
        let ledger = ledger(&[sample(100, []), sample(200, [process(1, 150, 7)])]);
        assert_eq!(user(&ledger.group(0)), 7);
    }

    #[test]
    fn an_old_process_that_only_now_matches_counts_from_now_on() {
        let young_to_us =
            [sample(100, []), sample(200, [process(1, 50, 70)]), sample(300, [process(1, 50, 72)])];
        assert_eq!(user(&ledger(&young_to_us[..2]).group(0)), 0);
        assert_eq!(user(&ledger(&young_to_us).group(0)), 2);
    }

    #[test]
    fn a_process_that_was_missed_at_one_look_does_not_count_twice() {
        let ledger = ledger(&[
            sample(100, []),
            sample(200, [process(1, 150, 7)]),
            sample(300, []),
            sample(400, [process(1, 150, 8)]),
            sample(500, [process(1, 150, 10)]),
        ]);
        assert_eq!(user(&ledger.group(0)), 9);
    }

    #[test]
    fn what_an_ended_process_did_stays_in_the_total_and_its_id_begins_anew() {
        let ledger = ledger(&[
            sample(100, [process(1, 50, 70)]),
            sample(200, [process(1, 50, 75)]),
            sample(300, []),
            sample(400, [process(1, 350, 3)]),
        ]);
        assert_eq!(user(&ledger.group(0)), 8);
        assert_eq!(user(&ledger.process(&Identity { pid: 1, start_ticks: 350 })), 3);
    }

    #[test]
    fn a_number_that_falls_never_takes_from_the_total() {
        let with = |switches: u64| {
            let mut process = process(1, 50, 0);
            process.switches = Some(crate::kernel::Switches { voluntary: switches, involuntary: 0 });
            sample(100, [process])
        };
        // As when a thread ends whose switches only it knew.
        let ledger = ledger(&[with(100), with(150), with(20), with(25)]);
        assert_eq!(ledger.group(0).now.get(Counter::Voluntary), Some(55));
    }

    #[test]
    fn what_could_never_be_read_has_no_total_and_what_could_once_keeps_it() {
        let mut unreadable = process(1, 50, 1);
        unreadable.storage = None;
        let mut ledger = ledger(&[sample(100, [unreadable.clone()]), sample(200, [unreadable.clone()])]);
        assert_eq!(ledger.group(0).now.get(Counter::StorageWrite), None);
        let mut readable = unreadable.clone();
        readable.storage = Some(crate::proc::io::StorageIo { read_bytes: 0, write_bytes: 1000 });
        ledger.record(&sample(300, [readable.clone()]));
        // What it had before it could be read is not known to be of our time.
        assert_eq!(ledger.group(0).now.get(Counter::StorageWrite), Some(0));
        ledger.record(&sample(400, [unreadable]));
        readable.storage = Some(crate::proc::io::StorageIo { read_bytes: 0, write_bytes: 1500 });
        ledger.record(&sample(500, [readable]));
        assert_eq!(ledger.group(0).now.get(Counter::StorageWrite), Some(500));
    }
}
