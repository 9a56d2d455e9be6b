//! When collections are due: at whole multiples of the interval on the system clock, so that all hosts collect at the
//! same times and nothing drifts. Also each host's export delay, so that not all export at the same time. Decides only:
//! the time is a parameter.

use std::time::Duration;

/// The exports of all hosts are spread over this fraction of the interval: one quarter.
const SPREAD: u32 = 4;
/// The longest spread, however long the interval is.
const LONGEST_SPREAD: Duration = Duration::from_secs(15);

/// The export delay of a host after each collection. Delays are evenly spread over the hosts, and that of one host
/// never changes, so that its exports arrive at regular intervals. `host` is a number that is evenly spread over
/// all hosts.
pub fn export_delay(interval: Duration, host: u32) -> Duration {
    let spread = (interval / SPREAD).min(LONGEST_SPREAD);
    let delay = (spread.as_nanos() * u128::from(host)) >> u32::BITS;
    Duration::from_nanos(u64::try_from(delay).unwrap_or(u64::MAX))
}

/// The times at which collections are due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    interval: Duration,
    /// The multiple of the interval that the last wait was for.
    last: Option<u128>,
}

impl Schedule {
    /// `interval` must not be 0.
    pub fn new(interval: Duration) -> Self {
        Self { interval: interval.max(Duration::from_nanos(1)), last: None }
    }

    /// Time until the next collection is due; `now` is the time since 1970. It is never more than two intervals,
    /// however the clock was set in the meantime.
    pub fn wait(&mut self, now: Duration) -> Duration {
        let interval = self.interval.as_nanos();
        let mut next = now.as_nanos() / interval + 1;
        // A timer that fires slightly early by the clock would yield the same due time twice.
        if self.last == Some(next) {
            next += 1;
        }
        self.last = Some(next);
        let wait = (next * interval).saturating_sub(now.as_nanos());
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// How many due times have passed when a collection ends, `late` after its own due time.
    pub fn skipped(&self, late: Duration) -> u64 {
        u64::try_from(late.as_nanos() / self.interval.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn collections_are_at_multiples_of_the_interval_whatever_one_takes() {
        let mut schedule = Schedule::new(ms(1000));
        assert_eq!(schedule.wait(ms(5300)), ms(700));
        assert_eq!(schedule.wait(ms(6001)), ms(999));
        assert_eq!(schedule.wait(ms(7800)), ms(200));
        assert_eq!(Schedule::new(ms(250)).wait(ms(1_763_800_000_100)), ms(150));
    }

    #[test]
    fn a_timer_that_fires_early_does_not_make_two_collections_of_one() {
        let mut schedule = Schedule::new(ms(1000));
        assert_eq!(schedule.wait(ms(5300)), ms(700));
        assert_eq!(schedule.wait(ms(5999)), ms(1001));
        assert_eq!(schedule.wait(ms(7000)), ms(1000));
    }

    #[test]
    fn a_clock_that_was_set_does_not_stop_the_collections() {
        let mut schedule = Schedule::new(ms(1000));
        schedule.wait(ms(5_000_300));
        assert_eq!(schedule.wait(ms(300)), ms(700));
        assert_eq!(schedule.wait(ms(90_000_300)), ms(700));
    }

    #[test]
    fn turns_are_spread_over_a_quarter_of_the_interval_and_at_most_15_seconds() {
        let delays =
            |interval| [0, 1 << 31, u32::MAX].map(|host| export_delay(ms(interval), host).as_millis());
        assert_eq!(delays(60_000), [0, 7_500, 14_999]);
        assert_eq!(delays(3_600_000), [0, 7_500, 14_999]);
        assert_eq!(delays(1_000), [0, 125, 249]);
        assert_eq!(delays(100), [0, 12, 24]);
    }

    #[test]
    fn ticks_that_a_collection_overran_are_counted() {
        let schedule = Schedule::new(ms(100));
        assert_eq!([0, 99, 100, 250, 1000].map(|late| schedule.skipped(ms(late))), [0, 0, 1, 2, 10]);
    }
}
