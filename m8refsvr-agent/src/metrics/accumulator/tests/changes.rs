//! What a group gains and loses adds up to its number of processes.

use super::*;

/// Starts, selected, deselected and exits of a group, and how many processes it has gained.
fn churn(accumulator: &Accumulator, group: usize) -> ([u64; 4], i64) {
    let Churn { starts, selected, deselected, exits, .. } = accumulator.churn(group).unwrap();
    let exits: u64 = exits.values().sum();
    let gained = (starts + selected).cast_signed() - (deselected + exits).cast_signed();
    ([*starts, *selected, *deselected, exits], gained)
}

fn two_groups(samples: &[Sample]) -> Accumulator {
    let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 2);
    for sample in samples {
        accumulator.record(sample, true);
    }
    for group in 0..2 {
        let count = |sample: &Sample| sample.processes.iter().filter(|it| it.group == group).count();
        let gained = count(samples.last().unwrap()).cast_signed() - count(&samples[0]).cast_signed();
        assert_eq!(churn(&accumulator, group).1, gained as i64, "{:?}", accumulator.churn(group));
    }
    accumulator
}

fn in_group(group: usize, process: ProcessSample) -> ProcessSample {
    ProcessSample { group, ..process }
}

#[test]
fn a_process_that_changes_its_group_leaves_one_and_comes_to_the_other() {
    let renamed =
        two_groups(&[sample(100, [process(1, 50, 1)]), sample(200, [in_group(1, process(1, 50, 2))])]);
    assert_eq!(churn(&renamed, 0).0, [0, 0, 1, 0]);
    assert_eq!(churn(&renamed, 1).0, [0, 1, 0, 0]);
    // An exec deselects it for a moment.
    let left = ProcessEnd { how: EndKind::Deselected, ..ended(1, 50, 2) };
    let executed = two_groups(&[
        sample(100, [process(1, 50, 1)]),
        Sample { ends: vec![left.clone()], ..sample(200, [in_group(1, process(1, 50, 3))]) },
    ]);
    assert_eq!([0, 1].map(|group| churn(&executed, group).0), [[0, 0, 1, 0], [0, 1, 0, 0]]);
    // It exits as a process of the other group before a collection sees it there.
    let exited = two_groups(&[
        sample(100, [process(1, 50, 1)]),
        Sample { ends: vec![left, ProcessEnd { group: 1, ..ended(1, 50, 4) }], ..sample(200, []) },
    ]);
    assert_eq!([0, 1].map(|group| churn(&exited, group).0), [[0, 0, 1, 0], [0, 1, 0, 1]]);
}

#[test]
fn without_an_exit_record_what_started_since_is_a_restart() {
    let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
    accumulator.record(&sample(1000, [process(1, 50, 1)]), true);
    // The exit was noticed at the collection, after the start.
    let end = |pid, start| ProcessEnd { at: SystemTime::UNIX_EPOCH + of_ticks(2000), ..vanished(pid, start) };
    accumulator.record(&Sample { ends: vec![end(1, 50)], ..sample(2000, [process(2, 1500, 0)]) }, true);
    assert_eq!(accumulator.churn(0).unwrap().restarts, 1);
    // One that came and went since is no restart of itself.
    let mut accumulator = Accumulator::new(SystemTime::UNIX_EPOCH, 1);
    accumulator.record(&sample(1000, []), true);
    accumulator.record(&Sample { ends: vec![end(3, 1500)], ..sample(2000, []) }, true);
    assert_eq!((churn(&accumulator, 0).0, accumulator.churn(0).unwrap().restarts), ([1, 0, 0, 1], 0));
}

#[test]
fn what_a_group_gains_and_loses_adds_up() {
    let left = |pid, start| ProcessEnd { how: EndKind::Deselected, ..ended(pid, start, 1) };
    let samples = [
        sample(5100, [process(1, 50, 1), process(2, 50, 1)]),
        // 3 started, 4 took a matching name while it ran, and 7 executed its program soon after it was forked.
        sample(
            5200,
            [
                process(1, 50, 1),
                process(2, 50, 1),
                process(3, 5150, 0),
                process(4, 20, 0),
                process(7, 5000, 0),
            ],
        ),
        // 1 no longer matches; 2 was deselected and matches again; 5 started and exited; 6 came and was deselected.
        Sample {
            ends: vec![left(1, 50), left(2, 50), ended(5, 5250, 1), left(6, 5260), ended(7, 5000, 1)],
            ..sample(5300, [process(2, 50, 2), process(3, 5150, 1), process(4, 20, 1)])
        },
        // 3 could not be found, and is there again.
        Sample { ends: vec![vanished(3, 5150)], ..sample(5400, [process(2, 50, 2), process(4, 20, 1)]) },
        sample(9500, [process(2, 50, 2), process(3, 5150, 1), process(4, 20, 1)]),
    ];
    for length in 2..=samples.len() {
        two_groups(&samples[..length]);
    }
    assert_eq!(churn(&two_groups(&samples), 0).0, [4, 1, 1, 3]);
}
