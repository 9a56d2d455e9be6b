//! When looks are due: at whole multiples of the interval on the clock, so that all hosts look at the same moments and
//! nothing drifts. And how long after its collections a host exports, so that not all of them do at the same moment.
//! Decides; parameters tell the time.

use std::time::Duration;

/// So much of the interval is there for the exports of all hosts.
const SPREAD: u32 = 4;
/// However long the interval is, nobody waits longer.
const LONGEST_SPREAD: Duration = Duration::from_secs(15);

/// How long after its collections a host exports: evenly spread over the hosts, and always the same for one of them, so that
/// what arrives from it has one distance in time. `host` is a number that is evenly spread too.
pub fn turn(interval: Duration, host: u32) -> Duration {
    let spread = (interval / SPREAD).min(LONGEST_SPREAD);
    let turn = (spread.as_nanos() * u128::from(host)) >> u32::BITS;
    Duration::from_nanos(u64::try_from(turn).unwrap_or(u64::MAX))
}

/// The moments at which looks are due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    interval: Duration,
    /// The multiple that was last waited for.
    last: Option<u128>,
}

impl Schedule {
    /// With this interval, which is not 0.
    pub fn new(interval: Duration) -> Self {
        Self { interval: interval.max(Duration::from_nanos(1)), last: None }
    }

    /// How long to wait for the next moment, at this time since 1970. It is never more than two intervals away,
    /// however the clock was set in the meantime.
    pub fn wait(&mut self, now: Duration) -> Duration {
        let interval = self.interval.as_nanos();
        let mut next = now.as_nanos() / interval + 1;
        // A timer that fires a little early by the clock would meet the same moment twice.
        if self.last == Some(next) {
            next += 1;
        }
        self.last = Some(next);
        let wait = (next * interval).saturating_sub(now.as_nanos());
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// How many moments went by while a collection took so long, from the moment at which it was due.
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
    fn looks_are_at_multiples_of_the_interval_whatever_a_look_takes() {
        let mut schedule = Schedule::new(ms(1000));
        assert_eq!(schedule.wait(ms(5300)), ms(700));
        assert_eq!(schedule.wait(ms(6001)), ms(999));
        assert_eq!(schedule.wait(ms(7800)), ms(200));
        assert_eq!(Schedule::new(ms(250)).wait(ms(1_763_800_000_100)), ms(150));
    }

    #[test]
    fn a_timer_that_fires_early_does_not_make_two_looks_of_one() {
        let mut schedule = Schedule::new(ms(1000));
        assert_eq!(schedule.wait(ms(5300)), ms(700));
        assert_eq!(schedule.wait(ms(5999)), ms(1001));
        assert_eq!(schedule.wait(ms(7000)), ms(1000));
    }

    #[test]
    fn a_clock_that_was_set_does_not_stop_the_looks() {
        let mut schedule = Schedule::new(ms(1000));
        schedule.wait(ms(5_000_300));
        assert_eq!(schedule.wait(ms(300)), ms(700));
        assert_eq!(schedule.wait(ms(90_000_300)), ms(700));
    }

    #[test]
    fn turns_are_spread_over_a_quarter_of_the_interval_and_at_most_15_seconds() {
        let turns = |interval| [0, 1 << 31, u32::MAX].map(|host| turn(ms(interval), host).as_millis());
        assert_eq!(turns(60_000), [0, 7_500, 14_999]);
        assert_eq!(turns(3_600_000), [0, 7_500, 14_999]);
        assert_eq!(turns(1_000), [0, 125, 249]);
        assert_eq!(turns(100), [0, 12, 24]);
    }

    #[test]
    fn moments_that_a_look_overran_are_counted() {
        let schedule = Schedule::new(ms(100));
        assert_eq!([0, 99, 100, 250, 1000].map(|late| schedule.skipped(ms(late))), [0, 0, 1, 2, 10]);
    }
}
