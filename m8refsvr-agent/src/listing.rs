//! Which processes have series of their own, so that their number is bounded; all others are told of as one. Every
//! total lies in one series at a time, and none ever falls while its series lasts.

use std::{cmp::Reverse, collections::HashMap, time::SystemTime};

use crate::{
    ledger::{Account, Ledger, Totals},
    sample::{Identity, ProcessSample, Sample},
};

/// The processes that are listed, from one look to the next.
#[derive(Debug)]
pub struct Listing {
    most: usize,
    listed: HashMap<Identity, Listed>,
}

/// Since when a process is listed.
#[derive(Clone, Copy, Debug)]
struct Listed {
    since: SystemTime,
    /// What it had done before, which was told with the others.
    base: Totals,
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

impl Listing {
    /// At most so many are listed.
    pub fn new(most: usize) -> Self {
        Self { most, listed: HashMap::new() }
    }

    /// Chooses those with the most CPU time. One that is new to the list was told with the others until the look
    /// before the last; one that leaves it goes back to them with all that it had done.
    pub fn choose<'a>(&mut self, sample: &'a Sample, ledger: &Ledger) -> Vec<Own<'a>> {
        let mut largest: Vec<&ProcessSample> = sample.processes.iter().collect();
        let rank =
            |process: &&ProcessSample| (Reverse(process.cpu_user + process.cpu_system), process.identity);
        if largest.len() > self.most {
            largest.sort_unstable_by_key(rank);
            largest.truncate(self.most);
        }
        let since = ledger.looked_before().unwrap_or(ledger.started());
        let mut earlier = std::mem::take(&mut self.listed);
        let own = |process: &'a ProcessSample| {
            let account = ledger.process(&process.identity);
            let listed = earlier.remove(&process.identity).unwrap_or(Listed { since, base: account.before });
            self.listed.insert(process.identity, listed);
            let account =
                Account { now: account.now.minus(&listed.base), before: account.before.minus(&listed.base) };
            Own { process, since: listed.since, account }
        };
        largest.into_iter().map(own).collect()
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
    use crate::{
        ledger::Counter,
        sample::fixtures::{process, sample},
    };

    const COUNTER: Counter = Counter::CpuUser;

    fn number(totals: &Totals) -> u64 {
        totals.get(COUNTER).unwrap_or_default()
    }

    #[test]
    fn those_with_the_most_cpu_time_are_listed() {
        let looked = sample(100, [process(1, 50, 5), process(2, 50, 9), process(3, 50, 7)]);
        let mut ledger = Ledger::new(SystemTime::UNIX_EPOCH, 1);
        ledger.record(&looked);
        let pids = |most: usize| {
            let own = Listing::new(most).choose(&looked, &ledger);
            let mut pids: Vec<u32> = own.iter().map(|own| own.process.identity.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(2), [2, 3]);
        assert_eq!(pids(9), [1, 2, 3]);
    }

    #[test]
    fn a_process_that_started_between_two_looks_brings_all_that_it_did() {
        let mut ledger = Ledger::new(SystemTime::UNIX_EPOCH, 1);
        let mut listing = Listing::new(5);
        let first = sample(100, []);
        ledger.record(&first);
        assert!(listing.choose(&first, &ledger).is_empty());
        let second = sample(200, [process(1, 150, 4)]);
        ledger.record(&second);
        let own = listing.choose(&second, &ledger);
        assert_eq!(number(&own[0].account.now), 4_000_000_000);
        assert_eq!(own[0].since, first.at);
    }

    proptest! {
        /// Each step: how much CPU time each of five processes has more than before, or that it is not there.
        #[test]
        fn no_series_falls_and_together_they_are_the_total(
            steps in prop::collection::vec(prop::collection::vec(prop::option::of(0_u64..9), 5), 1..20),
            most in 1_usize..4,
        ) {
            let mut ledger = Ledger::new(SystemTime::UNIX_EPOCH, 1);
            let mut listing = Listing::new(most);
            let mut used = [0; 5];
            let mut earlier: BTreeMap<(u32, SystemTime), u64> = BTreeMap::new();
            let (mut rest_before, mut total_before) = (0, 0);
            for (step, processes) in (1_u64..).zip(steps) {
                let mut looked = sample(100 * step, []);
                looked.at = SystemTime::UNIX_EPOCH + Duration::from_secs(step);
                for (pid, more) in (0_u32..).zip(processes) {
                    let Some(more) = more else { continue };
                    used[pid as usize] += more;
                    // Some were there before the first look.
                    looked.processes.push(process(pid, u64::from(pid) * 60, used[pid as usize]));
                }
                ledger.record(&looked);
                let own = listing.choose(&looked, &ledger);
                prop_assert!(own.len() <= most);
                let total = number(&ledger.group(0).now);
                let listed: u64 = own.iter().map(|own| number(&own.account.now)).sum();
                let rest = number(&own.iter().fold(ledger.group(0).now, |rest, own| rest.minus(&own.account.now)));
                prop_assert_eq!(listed + rest, total);
                prop_assert!(total >= total_before);
                prop_assert!(rest >= rest_before);
                for own in &own {
                    let value = number(&own.account.now);
                    let before = earlier.insert((own.process.identity.pid, own.since), value);
                    prop_assert!(before.unwrap_or_default() <= value);
                }
                (rest_before, total_before) = (rest, total);
            }
        }
    }
}
