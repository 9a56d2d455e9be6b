//! Which processes have series of their own, so that their number is bounded; all overflow are exported of as one. What was
//! exported in one series is never exported in another, so that the growth of all series together is that of the total.

use std::{cmp::Reverse, collections::HashMap, time::SystemTime};

use crate::{
    metrics::accumulator::Accumulator,
    model::{
        counters::{Account, Totals},
        sample::{Identity, ProcessSample, Sample},
    },
};

/// The processes that are selected, from one collection to the next.
#[derive(Debug)]
pub struct SeriesSelection {
    most: usize,
    /// Boxed, as up to half of a table's places are empty.
    selected: HashMap<Identity, Box<Series>>,
    /// What was exported, by group, in series that are over.
    exported: HashMap<usize, Totals>,
}

/// Since when a process is selected.
#[derive(Clone, Copy, Debug)]
struct Series {
    since: SystemTime,
    group: usize,
    /// What it had done before, which was exported with the overflow.
    base: Totals,
    /// What was exported of it at the last collection.
    exported: Totals,
}

/// One selected process.
#[derive(Clone, Debug)]
pub struct Selected<'a> {
    /// Which.
    pub process: &'a ProcessSample,
    /// Since when its totals count.
    pub since: SystemTime,
    /// What it did since.
    pub account: Account,
}

impl SeriesSelection {
    /// At most so many are selected.
    pub fn new(most: usize) -> Self {
        Self { most, selected: HashMap::new(), exported: HashMap::new() }
    }

    /// Chooses those with the most CPU time. What one that is new to the list did until the previous collection was exported with
    /// the overflow; what one that leaves it does from the previous collection is exported with them.
    pub fn choose<'a>(&mut self, sample: &'a Sample, accumulator: &Accumulator) -> Vec<Selected<'a>> {
        let mut largest: Vec<&ProcessSample> = sample.processes.iter().collect();
        let rank = |process: &&ProcessSample| (Reverse(process.counters.cpu_time()), process.identity);
        if largest.len() > self.most {
            largest.sort_unstable_by_key(rank);
            largest.truncate(self.most);
        }
        let since = accumulator.previous_collection_at().unwrap_or(accumulator.started());
        let mut earlier = std::mem::replace(&mut self.selected, HashMap::with_capacity(largest.len()));
        let mut chosen = Vec::with_capacity(largest.len());
        for process in largest {
            let account = accumulator.process(&process.identity);
            let group = process.group;
            let anew =
                || Box::new(Series { since, group, base: account.before, exported: Totals::default() });
            let mut selected = match earlier.remove(&process.identity) {
                Some(selected) if selected.group == group => selected,
                Some(over) => {
                    self.end(&over);
                    anew()
                }
                None => anew(),
            };
            let account = account.minus(&Account::steady(selected.base));
            selected.exported = account.now;
            chosen.push(Selected { process, since: selected.since, account });
            self.selected.insert(process.identity, selected);
        }
        earlier.values().for_each(|over| self.end(over));
        chosen
    }

    /// What is exported of a group besides the selected: its account, less what is and was exported of processes one by one.
    pub fn overflow(&self, group: usize, account: Account, own: &[Selected<'_>]) -> Account {
        let exported = self.exported.get(&group).copied().unwrap_or_default();
        let rest = account.minus(&Account::steady(exported));
        let selected = own.iter().filter(|own| own.process.group == group);
        selected.fold(rest, |rest, own| rest.minus(&own.account))
    }

    fn end(&mut self, over: &Series) {
        let exported = self.exported.entry(over.group).or_default();
        *exported = exported.plus(&over.exported);
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
        let sample_now = sample(100, [process(1, 50, 5), process(2, 50, 9), process(3, 50, 7)]);
        let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
        accumulator.record(&sample_now);
        let pids = |most: usize| {
            let own = SeriesSelection::new(most).choose(&sample_now, &accumulator);
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
        let mut selection = SeriesSelection::new(5);
        let first = sample(100, []);
        accumulator.record(&first);
        assert!(selection.choose(&first, &accumulator).is_empty());
        let second = sample(200, [young(1, 150, 4)]);
        accumulator.record(&second);
        let own = selection.choose(&second, &accumulator);
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
            let mut selection = SeriesSelection::new(most);
            let mut used = [0; 5];
            // What each series exported last, those that are over included.
            let mut series: BTreeMap<Option<(u32, SystemTime)>, u64> = BTreeMap::new();
            let mut total_before = 0;
            for (step, processes) in (1_u64..).zip(steps) {
                let mut sample_now = sample(100 * step, []);
                sample_now.at = SystemTime::UNIX_EPOCH + Duration::from_secs(step);
                for (pid, more) in (0_u32..).zip(processes) {
                    let Some(more) = more else { continue };
                    used[pid as usize] += more;
                    // Some were there before the first collection.
                    sample_now.processes.push(process(pid, u64::from(pid) * 60, used[pid as usize]));
                }
                accumulator.record(&sample_now);
                let own = selection.choose(&sample_now, &accumulator);
                prop_assert!(own.len() <= most);
                let overflow = number(&selection.overflow(0, accumulator.group(0), &own).now);
                let of_own = own.iter().map(|own| {
                    (Some((own.process.identity.pid, own.since)), number(&own.account.now))
                });
                for (name, value) in of_own.chain([(None, overflow)]) {
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
