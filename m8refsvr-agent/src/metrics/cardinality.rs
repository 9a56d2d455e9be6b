//! Which processes have series of their own, so that their number is bounded; all others are told of as one. What was
//! told in one series is never told in another, so that the growth of all series together is that of the total.

use std::{cmp::Reverse, collections::HashMap, time::SystemTime};

use crate::{
    metrics::accumulator::Accumulator,
    model::{
        counters::{Account, Totals},
        sample::{Identity, ProcessSample, Sample},
    },
};

/// The processes that are listed, from one collection to the next.
#[derive(Debug)]
pub struct SeriesSelection {
    most: usize,
    /// Boxed, as up to half of a table's places are empty.
    listed: HashMap<Identity, Box<Listed>>,
    /// What was told, by group, in series that are over.
    told: HashMap<usize, Totals>,
}

/// Since when a process is listed.
#[derive(Clone, Copy, Debug)]
struct Listed {
    since: SystemTime,
    group: usize,
    /// What it had done before, which was told with the others.
    base: Totals,
    /// What was told of it at the last collection.
    told: Totals,
}

/// One listed process.
#[derive(Clone, Debug)]
pub struct Own<'a> {
    /// Which.
    pub process: &'a ProcessSample,
    /// Since when its totals count.
    pub since: SystemTime,
    /// What it did since.
    pub account: Account,
}

impl SeriesSelection {
    /// At most so many are listed.
    pub fn new(most: usize) -> Self {
        Self { most, listed: HashMap::new(), told: HashMap::new() }
    }

    /// Chooses those with the most CPU time. What one that is new to the list did until the previous collection was told with
    /// the others; what one that leaves it does from the previous collection is told with them.
    pub fn choose<'a>(&mut self, sample: &'a Sample, accumulator: &Accumulator) -> Vec<Own<'a>> {
        let mut largest: Vec<&ProcessSample> = sample.processes.iter().collect();
        let rank = |process: &&ProcessSample| (Reverse(process.counters.cpu_time()), process.identity);
        if largest.len() > self.most {
            largest.sort_unstable_by_key(rank);
            largest.truncate(self.most);
        }
        let since = accumulator.previous_collection_at().unwrap_or(accumulator.started());
        let mut earlier = std::mem::replace(&mut self.listed, HashMap::with_capacity(largest.len()));
        let mut chosen = Vec::with_capacity(largest.len());
        for process in largest {
            let account = accumulator.process(&process.identity);
            let group = process.group;
            let anew = || Box::new(Listed { since, group, base: account.before, told: Totals::default() });
            let mut listed = match earlier.remove(&process.identity) {
                Some(listed) if listed.group == group => listed,
                Some(over) => {
                    self.end(&over);
                    anew()
                }
                None => anew(),
            };
            let account = account.minus(&Account::steady(listed.base));
            listed.told = account.now;
            chosen.push(Own { process, since: listed.since, account });
            self.listed.insert(process.identity, listed);
        }
        earlier.values().for_each(|over| self.end(over));
        chosen
    }

    /// What is told of a group besides the listed: its account, less what is and was told of processes one by one.
    pub fn others(&self, group: usize, account: Account, own: &[Own<'_>]) -> Account {
        let told = self.told.get(&group).copied().unwrap_or_default();
        let rest = account.minus(&Account::steady(told));
        let listed = own.iter().filter(|own| own.process.group == group);
        listed.fold(rest, |rest, own| rest.minus(&own.account))
    }

    fn end(&mut self, over: &Listed) {
        let told = self.told.entry(over.group).or_default();
        *told = told.plus(&over.told);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        time::{Duration, SystemTime},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::model::{
        counters::Counter,
        sample::fixtures::{process, sample, young},
    };

    const COUNTER: Counter = Counter::CpuUser;

    fn number(totals: &Totals) -> u64 {
        totals.get(COUNTER).unwrap_or_default()
    }

    #[test]
    fn those_with_the_most_cpu_time_are_listed() {
        let looked = sample(100, [process(1, 50, 5), process(2, 50, 9), process(3, 50, 7)]);
        let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
        accumulator.record(&looked);
        let pids = |most: usize| {
            let own = SeriesSelection::new(most).choose(&looked, &accumulator);
            let mut pids: Vec<u32> = own.iter().map(|own| own.process.identity.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(2), [2, 3]);
        assert_eq!(pids(9), [1, 2, 3]);
    }

    #[test]
    fn a_process_that_started_between_two_looks_brings_all_that_it_did() {
        let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
        let mut listing = SeriesSelection::new(5);
        let first = sample(100, []);
        accumulator.record(&first);
        assert!(listing.choose(&first, &accumulator).is_empty());
        let second = sample(200, [young(1, 150, 4)]);
        accumulator.record(&second);
        let own = listing.choose(&second, &accumulator);
        assert_eq!(number(&own[0].account.now), 4_000_000_000);
        assert_eq!(own[0].since, first.at);
    }

    proptest! {
        /// Each step: how much CPU time each of five processes has more than before, or that it is not there.
        #[test]
        fn no_series_falls_and_together_they_grow_as_the_total(
            steps in prop::collection::vec(prop::collection::vec(prop::option::of(0_u64..9), 5), 1..20),
            most in 1_usize..4,
        ) {
            let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
            let mut listing = SeriesSelection::new(most);
            let mut used = [0; 5];
            // What each series told last, those that are over included.
            let mut series: BTreeMap<Option<(u32, SystemTime)>, u64> = BTreeMap::new();
            let mut total_before = 0;
            for (step, processes) in (1_u64..).zip(steps) {
                let mut looked = sample(100 * step, []);
                looked.at = SystemTime::UNIX_EPOCH + Duration::from_secs(step);
                for (pid, more) in (0_u32..).zip(processes) {
                    let Some(more) = more else { continue };
                    used[pid as usize] += more;
                    // Some were there before the first collection.
                    looked.processes.push(process(pid, u64::from(pid) * 60, used[pid as usize]));
                }
                accumulator.record(&looked);
                let own = listing.choose(&looked, &accumulator);
                prop_assert!(own.len() <= most);
                let others = number(&listing.others(0, accumulator.group(0), &own).now);
                let of_own = own.iter().map(|own| {
                    (Some((own.process.identity.pid, own.since)), number(&own.account.now))
                });
                for (name, value) in of_own.chain([(None, others)]) {
                    let before = series.insert(name, value);
                    prop_assert!(before.unwrap_or_default() <= value, "{:?} fell", name);
                }
                let total = number(&accumulator.group(0).now);
                prop_assert_eq!(series.values().sum::<u64>(), total);
                prop_assert!(total >= total_before);
                prop_assert!(total <= used.iter().sum::<u64>() * 1_000_000_000, "counted twice");
                total_before = total;
            }
        }
    }
}
