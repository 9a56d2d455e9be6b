//! The cardinality limit: which processes have series of their own. All others are summed in the overflow series of
//! their group. A value is exported in exactly one series, so that all series together grow as the total does.

use std::{cmp::Reverse, collections::HashMap, time::SystemTime};

use crate::{
    metrics::accumulator::Accumulator,
    model::{
        counters::{Account, Totals},
        identity::Identity,
        sample::{ProcessSample, Sample},
    },
};

/// The processes with series of their own, from one collection to the next.
#[derive(Debug)]
pub struct SeriesSelection {
    most: usize,
    /// Boxed because up to half of a hash table's entries are empty.
    selected: HashMap<Identity, Box<Series>>,
    /// Totals that were exported in series that have ended, by group index.
    exported: HashMap<usize, Totals>,
}

/// The series of one process.
#[derive(Clone, Copy, Debug)]
struct Series {
    since: SystemTime,
    group: usize,
    /// Its totals before `since`, which were exported in the overflow series.
    base: Totals,
    /// Its totals at the last collection, as they were exported.
    exported: Totals,
}

/// A process with series of its own.
#[derive(Clone, Debug)]
pub struct Selected<'a> {
    pub process: &'a ProcessSample,
    /// Start time of its series.
    pub since: SystemTime,
    /// Its totals since then.
    pub account: Account,
}

impl SeriesSelection {
    /// `most` is the cardinality limit: how many processes have series of their own.
    pub fn new(most: usize) -> Self {
        Self { most, selected: HashMap::new(), exported: HashMap::new() }
    }

    /// Selects the processes with the most CPU time. A newly selected process brings its work since the previous
    /// collection: earlier work was exported in the overflow series. A process that loses its series is exported in
    /// the overflow series from the previous collection on.
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
                Some(series) => {
                    self.end(&series);
                    anew()
                }
                None => anew(),
            };
            let account = account.minus(&Account::steady(selected.base));
            selected.exported = account.now;
            chosen.push(Selected { process, since: selected.since, account });
            self.selected.insert(process.identity, selected);
        }
        earlier.values().for_each(|series| self.end(series));
        chosen
    }

    /// Totals of a group's overflow series: those of the group, minus all that was exported in series of their own.
    pub fn overflow(&self, group: usize, account: Account, own: &[Selected<'_>]) -> Account {
        let exported = self.exported.get(&group).copied().unwrap_or_default();
        let rest = account.minus(&Account::steady(exported));
        let selected = own.iter().filter(|own| own.process.group == group);
        selected.fold(rest, |rest, own| rest.minus(&own.account))
    }

    fn end(&mut self, series: &Series) {
        let exported = self.exported.entry(series.group).or_default();
        *exported = exported.plus(&series.exported);
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
        accumulator.record(&sample_now, true);
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
    fn a_process_that_started_between_two_collections_brings_all_that_it_did() {
        let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
        let mut selection = SeriesSelection::new(5);
        let first = sample(100, []);
        accumulator.record(&first, true);
        assert!(selection.choose(&first, &accumulator).is_empty());
        let second = sample(200, [young(1, 150, 4)]);
        accumulator.record(&second, true);
        let own = selection.choose(&second, &accumulator);
        assert_eq!(number(&own[0].account.now), 4_000_000_000);
        assert_eq!(own[0].since, first.at);
    }

    proptest! {
        /// Each step has the CPU time that each of five processes adds, or `None` for a process that is absent.
        #[test]
        fn no_series_falls_and_together_they_grow_as_the_total(
            steps in prop::collection::vec(prop::collection::vec(prop::option::of(0_u64..9), 5), 1..20),
            most in 1_usize..4,
        ) {
            let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
            let mut selection = SeriesSelection::new(most);
            let mut used = [0; 5];
            // The last value of each series, ended ones included.
            let mut series: BTreeMap<Option<(u32, SystemTime)>, u64> = BTreeMap::new();
            let mut total_before = 0;
            for (step, processes) in (1_u64..).zip(steps) {
                let mut sample_now = sample(100 * step, []);
                sample_now.at = SystemTime::UNIX_EPOCH + Duration::from_secs(step);
                for (pid, more) in (0_u32..).zip(processes) {
                    let Some(more) = more else { continue };
                    used[pid as usize] += more;
                    // Some processes started before the first collection.
                    sample_now.processes.push(process(pid, u64::from(pid) * 60, used[pid as usize]));
                }
                accumulator.record(&sample_now, true);
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
