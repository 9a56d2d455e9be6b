//! Totals never fall, count nothing twice, and hold all that the accumulator was given.

mod changes;

use proptest::prelude::*;

use super::*;
use crate::{
    bpf::Switches,
    model::{
        counters::{Counter, Readings},
        exit::ProcessEnd,
        sample::{
            ProcessSample,
            fixtures::{ended, nothing, process, sample, vanished, young},
        },
    },
    proc::io::IoAccounting,
};

fn user(account: &Account) -> u64 {
    account.now.get(Counter::CpuUser).unwrap() / 1_000_000_000
}

fn user_or_none(accumulator: &Accumulator, identity: Identity) -> Option<u64> {
    accumulator.process(&identity).now.get(Counter::CpuUser)
}

fn accumulator(samples: &[Sample]) -> Accumulator {
    let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
    samples.iter().for_each(|sample| accumulator.record(sample, true));
    accumulator
}

#[test]
fn what_a_process_did_before_the_first_collection_does_not_count() {
    let accumulator = accumulator(&[sample(100, [process(1, 50, 70)]), sample(200, [process(1, 50, 75)])]);
    assert_eq!(user(&accumulator.group(0)), 5);
    assert_eq!(user(&accumulator.process(&Identity { pid: 1, start_ticks: 50 })), 5);
}

#[test]
fn all_that_a_process_did_counts_that_started_later() {
    let accumulator = accumulator(&[sample(100, []), sample(200, [young(1, 150, 7)])]);
    assert_eq!(user(&accumulator.group(0)), 7);
}

#[test]
fn an_old_process_that_only_now_matches_counts_from_now_on() {
    let young_to_us = [sample(100, []), sample(200, [process(1, 50, 70)]), sample(300, [process(1, 50, 72)])];
    assert_eq!(user(&accumulator(&young_to_us[..2]).group(0)), 0);
    assert_eq!(user(&accumulator(&young_to_us).group(0)), 2);
}

#[test]
fn a_process_that_was_missed_at_one_collection_counts_once_and_whole() {
    let collections =
        [sample(100, []), sample(200, [young(1, 150, 7)]), sample(300, []), sample(400, [young(1, 150, 8)])];
    assert_eq!(user(&accumulator(&collections).group(0)), 8);
}

#[test]
fn what_an_ended_process_did_stays_in_the_total_and_its_id_begins_anew() {
    let accumulator = accumulator(&[
        sample(100, [process(1, 50, 70)]),
        sample(200, [process(1, 50, 75)]),
        Sample { ends: vec![vanished(1, 50)], ..sample(300, []) },
        sample(400, [young(1, 350, 3)]),
    ]);
    assert_eq!(user(&accumulator.group(0)), 8);
    assert_eq!(user(&accumulator.process(&Identity { pid: 1, start_ticks: 350 })), 3);
    assert_eq!(user_or_none(&accumulator, Identity { pid: 1, start_ticks: 50 }), None);
}

#[test]
fn what_a_process_did_after_the_last_collection_counts_when_its_end_is_known() {
    let accumulator = accumulator(&[
        sample(100, [process(1, 50, 70)]),
        Sample { ends: vec![ended(1, 50, 73)], ..sample(200, []) },
    ]);
    assert_eq!(user(&accumulator.group(0)), 3);
}

#[test]
fn the_last_cpu_time_may_be_divided_otherwise_than_before_and_adds_up_all_the_same() {
    let cpu = |user, system: u64| {
        let mut end = ended(1, 150, user);
        end.last = Totals::of(|counter| match counter {
            Counter::CpuSystem => Some(system * 1_000_000_000),
            other => end.last.get(other),
        });
        end
    };
    let accumulator = accumulator(&[
        sample(100, []),
        sample(200, [young(1, 150, 5)]),
        Sample { ends: vec![cpu(3, 4)], ..sample(300, []) },
    ]);
    let total = accumulator.group(0).now;
    assert_eq!(user(&accumulator.group(0)), 5);
    assert_eq!(total.get(Counter::CpuSystem), Some(2_000_000_000));
}

#[test]
fn a_process_that_no_collection_saw_counts_whole() {
    let ends = [ended(1, 150, 4), ended(1, 160, 5)].map(|end| ProcessEnd { first: nothing(), ..end });
    let accumulator = accumulator(&[sample(100, []), Sample { ends: ends.into(), ..sample(200, []) }]);
    assert_eq!(user(&accumulator.group(0)), 9);
    let churn = accumulator.churn(0).unwrap();
    assert_eq!((churn.starts, churn.restarts, churn.exits.values().sum::<u64>()), (2, 1, 2));
}

#[test]
fn one_that_matches_again_does_not_count_twice_what_it_did_before() {
    let left = ProcessEnd { how: EndKind::Deselected, first: nothing(), ..ended(1, 150, 4) };
    let again = ProcessSample { first: Some(process(1, 150, 6).counters), ..process(1, 150, 9) };
    let accumulator = accumulator(&[sample(100, []), Sample { ends: vec![left], ..sample(200, [again]) }]);
    // 4 until it was deselected, and 3 since it matches again.
    assert_eq!(user(&accumulator.group(0)), 7);
    // It never exited. Its first match is no start: no collection saw it before it was deselected, like a forked
    // child that executes another program.
    let churn = accumulator.churn(0).unwrap();
    assert_eq!((churn.starts, churn.exits.values().sum::<u64>()), (1, 0));
}

#[test]
fn processes_of_the_first_collection_did_not_start() {
    let accumulator = accumulator(&[
        sample(100, [process(1, 50, 70)]),
        sample(200, [process(1, 50, 70), process(2, 150, 0)]),
    ]);
    assert_eq!(accumulator.churn(0).unwrap().starts, 1);
}

#[test]
fn a_number_that_falls_never_takes_from_the_total() {
    let with = |switches: u64| {
        let mut process = process(1, 50, 0);
        process.counters = process.counters.with(Readings {
            switches: Some(&Switches { voluntary: switches, involuntary: 0 }),
            ..Readings::default()
        });
        sample(100, [process])
    };
    // As when a thread exits and /proc no longer has its context switches.
    let accumulator = accumulator(&[with(100), with(150), with(20), with(25)]);
    assert_eq!(accumulator.group(0).now.get(Counter::Voluntary), Some(55));
}

fn written(process: &ProcessSample, write_bytes: u64) -> Totals {
    let io = IoAccounting { write_bytes, ..IoAccounting::default() };
    process.counters.with(Readings { io: Some(&io), ..Readings::default() })
}

#[test]
fn what_could_never_be_read_has_no_total_and_what_could_once_keeps_it() {
    let unreadable = process(1, 50, 1);
    let mut accumulator =
        accumulator(&[sample(100, [unreadable.clone()]), sample(200, [unreadable.clone()])]);
    assert_eq!(accumulator.group(0).now.get(Counter::StorageWrite), None);
    let mut readable = unreadable.clone();
    readable.counters = written(&unreadable, 1000);
    accumulator.record(&sample(300, [readable.clone()]), true);
    // Bytes written before the first reading may be older than the agent.
    assert_eq!(accumulator.group(0).now.get(Counter::StorageWrite), Some(0));
    accumulator.record(&sample(400, [unreadable.clone()]), true);
    readable.counters = written(&unreadable, 1500);
    accumulator.record(&sample(500, [readable]), true);
    assert_eq!(accumulator.group(0).now.get(Counter::StorageWrite), Some(500));
}

/// A simulated process: what it really did, and how much of that the accumulator can know.
#[derive(Clone, Copy, Debug)]
struct Real {
    start_ticks: u64,
    /// Seconds of CPU time so far.
    did: u64,
    /// `did` when it last began to match; `None` while it does not match.
    since: Option<u64>,
    /// Seconds of CPU time in earlier periods in which it matched.
    matched: u64,
}

impl Real {
    /// CPU time of all periods in which it matched.
    fn ours(&self) -> u64 {
        self.matched + self.since.map_or(0, |since| self.did - since)
    }
}

/// What happens to a process between two collections.
#[derive(Clone, Copy, Debug)]
struct Step {
    works: u64,
    what: What,
    works_then: u64,
    /// Whether a collection can read its files.
    is_seen: bool,
    /// Whether its end is reported at once, or one collection later, as after a dropped event.
    is_reported: bool,
    /// Whether its last counters are known.
    is_known: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Nothing,
    Starts,
    /// It executes another executable or changes its name, and is deselected.
    Leaves,
    /// The same, and it is selected.
    Enters,
    Ends,
    /// Another process gets its ID at once.
    EndsAndStarts,
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        3 => Just(What::Nothing),
        2 => Just(What::Starts),
        1 => Just(What::Leaves),
        2 => Just(What::Enters),
        2 => Just(What::Ends),
        1 => Just(What::EndsAndStarts),
    ];
    (
        0_u64..9,
        what,
        0_u64..9,
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(works, what, works_then, is_seen, is_reported, is_known)| Step {
            works,
            what,
            works_then,
            is_seen,
            is_reported,
            is_known,
        })
}

fn end_of(pid: u32, real: &Real, how: EndKind, is_known: bool) -> ProcessEnd {
    let since = real.since.unwrap_or_default();
    let first = Some(process(pid, real.start_ticks, since).counters);
    let known = ended(pid, real.start_ticks, real.did);
    let last = if is_known { known.last } else { Totals::default() };
    ProcessEnd { how, first, last, ..known }
}

proptest! {
    /// In any order of events: no total falls, nothing counts twice, and everything reported to the accumulator
    /// counts.
    #[test]
    fn totals_never_fall_and_hold_what_was_reported(
        steps in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(step(), 0..4), 4),
            1..20,
        ),
    ) {
        let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
        let mut real: [Option<Real>; 4] = [None; 4];
        // By process: the least work that was reported while it matched, and the most that can be known.
        let mut surely: HashMap<Identity, u64> = HashMap::new();
        let mut at_most: HashMap<Identity, u64> = HashMap::new();
        let mut late: Vec<ProcessEnd> = Vec::new();
        let mut total = 0;
        let mut churn = (0, 0);
        for (number, steps) in (1_u64..).zip(steps) {
            let began = 100 * number;
            let mut on_time = std::mem::take(&mut late);
            let mut seen = Vec::new();
            for (pid, steps) in (0_u32..).zip(steps) {
                let slot = &mut real[pid as usize];
                // After a delayed report, this collection reports nothing more of the process.
                let mut is_late = false;
                let mut is_seen = true;
                for (number, step) in (0_u64..).zip(steps) {
                    is_seen = step.is_seen;
                    if let Some(real) = slot {
                        real.did += step.works;
                    }
                    let was_late = is_late;
                    let mut end = |real: &Real, how: EndKind| {
                        let Some(since) = real.since else { return };
                        let end = end_of(pid, real, how, step.is_known);
                        if step.is_known {
                            *surely.entry(end.identity).or_default() += real.did - since;
                            at_most.insert(end.identity, real.ours());
                        }
                        is_late |= !step.is_reported;
                        if is_late { late.push(end) } else { on_time.push(end) }
                    };
                    let start_ticks = began - 60 + 10 * number;
                    let anew = || Some(Real { start_ticks, did: 0, since: Some(0), matched: 0 });
                    let ended = EndKind::Exited(crate::model::exit::Exit::Code(0));
                    match (step.what, *slot) {
                        (What::Starts, None) => *slot = anew(),
                        (What::Leaves, Some(now)) => {
                            end(&now, EndKind::Deselected);
                            *slot = Some(Real { since: None, matched: now.ours(), ..now });
                        }
                        // Its deselection is reported before it matches again.
                        (What::Enters, Some(now)) if now.since.is_none() && !was_late => {
                            *slot = Some(Real { since: Some(now.did), ..now });
                        }
                        (What::Ends, Some(now)) => {
                            end(&now, ended);
                            *slot = None;
                        }
                        (What::EndsAndStarts, Some(now)) => {
                            end(&now, ended);
                            *slot = anew();
                        }
                        _ => {}
                    }
                    if let Some(now) = slot {
                        now.did += step.works_then;
                    }
                }
                if let Some(now) = *slot
                    && let Some(since) = now.since
                    && is_seen
                    && !is_late
                {
                    let first = process(pid, now.start_ticks, since).counters;
                    let mut process = process(pid, now.start_ticks, now.did);
                    process.first = Some(first);
                    at_most.insert(process.identity, now.ours());
                    seen.push(process);
                }
            }
            accumulator.record(&Sample { ends: on_time, ..sample(began, seen) }, true);
            let now = accumulator.group(0).now.get(Counter::CpuUser).unwrap_or_default() / 1_000_000_000;
            prop_assert!(now >= total, "fell from {total} to {now}");
            total = now;
            let counted = accumulator.churn(0).unwrap();
            let exits = counted.exits.values().sum::<u64>();
            prop_assert!(counted.starts >= churn.0 && exits >= churn.1 && counted.restarts <= counted.starts);
            churn = (counted.starts, exits);
        }
        accumulator.record(&Sample { ends: late, ..sample(1_000_000, []) }, true);
        total = accumulator.group(0).now.get(Counter::CpuUser).unwrap_or_default() / 1_000_000_000;
        prop_assert!(total <= at_most.values().sum::<u64>(), "counted too much: {total} of {at_most:?}");
        prop_assert!(total >= surely.values().sum::<u64>(), "lost: {total} of {surely:?}");
    }
}

#[test]
fn cpu_time_counts_since_the_collection_that_was_exported_last() {
    let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
    let began = Instant::now();
    let second = |number: u64, cpu: u64| Sample {
        began: began + Duration::from_secs(number),
        ..sample(100 * number, [process(1, 50, cpu)])
    };
    let mut record = |number, cpu, was_exported| {
        accumulator.record(&second(number, cpu), was_exported);
        let used = accumulator.group(0).unexported_cpu[0] / 1_000_000_000;
        assert_eq!(
            accumulator.process(&Identity { pid: 1, start_ticks: 50 }).unexported_cpu[0],
            used * 1_000_000_000
        );
        (used, accumulator.elapsed().map(|elapsed| elapsed.as_secs()))
    };
    assert_eq!(record(1, 10, false), (0, None));
    assert_eq!(record(2, 11, true), (1, Some(1)));
    assert_eq!(record(3, 13, true), (2, Some(1)));
    // The third was dropped for the fourth, and that for the fifth.
    assert_eq!(record(4, 14, false), (3, Some(2)));
    assert_eq!(record(5, 15, false), (4, Some(3)));
    assert_eq!(record(6, 16, true), (1, Some(1)));
}
