//! The baseline of a process: what is added to its counters, so that they continue what /proc shows of its past
//! without gap or overlap.

use m8refsvr_common::record::Counts;

use crate::bpf::process::Switches;

/// Threads whose switches are read, over all attempts, to find a moment at which a new process did not switch.
const THREADS_READ_FOR_START: usize = 2000;

/// What must be added (wrapping) to `counted` so that it continues what `before` reads. `None` when nothing could
/// be read.
pub(super) fn baseline_of(
    counted: impl Fn() -> Counts,
    mut before: impl FnMut() -> Option<(Switches, usize)>,
) -> Option<Switches> {
    let mut read = 0;
    let mut best: Option<[(u64, u64); 2]> = None;
    while read < THREADS_READ_FOR_START {
        let start = counted();
        let (switches, threads) = before()?;
        let end = counted();
        read += threads.max(1);
        // For each kind: how many fell into the reading, and the baseline that leaves these out.
        let attempt = [
            (end.voluntary.wrapping_sub(start.voluntary), switches.voluntary.wrapping_sub(end.voluntary)),
            (
                end.involuntary.wrapping_sub(start.involuntary),
                switches.involuntary.wrapping_sub(end.involuntary),
            ),
        ];
        let closer = match best {
            None => attempt,
            Some([voluntary, involuntary]) => [voluntary.min(attempt[0]), involuntary.min(attempt[1])],
        };
        best = Some(closer);
        if closer[0].0 == 0 && closer[1].0 == 0 {
            break;
        }
    }
    best.map(|[(_, voluntary), (_, involuntary)]| Switches { voluntary, involuntary })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn counts(voluntary: u64) -> Counts {
        Counts { voluntary, ..Counts::default() }
    }

    fn read(voluntary: u64) -> Option<(Switches, usize)> {
        Some((Switches { voluntary, involuntary: 0 }, 4))
    }

    #[test]
    fn a_quiet_process_is_continued_exactly() {
        let baseline = baseline_of(|| counts(3), || read(1003)).unwrap();
        assert_eq!(baseline.voluntary.wrapping_add(10), 1010);
    }

    #[test]
    fn a_reading_into_which_a_switch_fell_is_repeated() {
        // The process switches during the first two readings.
        let real = Cell::new(1000);
        let attempts = Cell::new(0);
        let baseline = baseline_of(
            || counts(real.get() - 1000),
            || {
                let seen = read(real.get());
                attempts.set(attempts.get() + 1);
                if attempts.get() < 3 {
                    real.set(real.get() + 1);
                }
                seen
            },
        );
        assert_eq!(attempts.get(), 3);
        assert_eq!(baseline.unwrap().voluntary, 1000);
    }

    #[test]
    fn a_process_that_never_rests_loses_the_fewest_and_is_not_read_for_ever() {
        let real = Cell::new(0);
        let step = Cell::new(10);
        let baseline = baseline_of(
            || counts(real.get()),
            || {
                step.set((step.get() - 1).max(2));
                real.set(real.get() + step.get());
                read(real.get() - step.get())
            },
        );
        // Each attempt loses what fell into it, the best of them 2.
        assert_eq!(baseline.unwrap().voluntary, 0_u64.wrapping_sub(2));
    }

    #[test]
    fn a_process_that_is_gone_has_no_start() {
        assert_eq!(baseline_of(|| counts(0), || None), None);
    }
}
