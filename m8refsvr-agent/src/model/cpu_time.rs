//! CPU time in user mode and in the kernel. Both parts are sampled at clock ticks; their sum is exact.

use std::time::Duration;

use m8refsvr_common::accounting::Accounting;

/// A duration in nanoseconds, as counters keep it.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of an exited process in user mode and in the kernel, nanoseconds.
pub(crate) fn cpu_time(accounting: &Accounting<Option<u64>>) -> Option<(u64, u64)> {
    Some(divided(accounting.runtime?, accounting.user?, accounting.system?))
}

/// Divides CPU time so that neither part is less than in `seen`. The sum stays the same. The kernel does this for
/// the values it shows (`cputime_adjust` in `kernel/sched/cputime.c`), but does not export what it showed before.
pub(crate) fn balanced((user, system): (u64, u64), seen: (u64, u64)) -> (u64, u64) {
    let sum = user.saturating_add(system);
    let least = seen.1.min(sum);
    let user = user.max(seen.0).min(sum - least);
    (user, sum - user)
}

/// Divides an exact CPU time into user and system time, in proportion to the clock ticks sampled in each. Source:
/// `cputime_adjust` in `kernel/sched/cputime.c`.
fn divided(exact: u64, user: u64, system: u64) -> (u64, u64) {
    let ticks = u128::from(user) + u128::from(system);
    if exact == 0 || ticks == 0 {
        // Too short for any tick: the kernel counts it as user time.
        return (exact, 0);
    }
    let system = u128::from(exact) * u128::from(system) / ticks;
    let system = u64::try_from(system).unwrap_or(exact);
    (exact - system, system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_time_is_divided_as_the_ticks_are() {
        assert_eq!(divided(1000, 3, 1), (750, 250));
        assert_eq!(divided(1000, 0, 7), (0, 1000));
        assert_eq!(divided(1000, 7, 0), (1000, 0));
        assert_eq!(divided(1000, 0, 0), (1000, 0));
        assert_eq!(divided(u64::MAX, u64::MAX, u64::MAX), (u64::MAX - u64::MAX / 2, u64::MAX / 2));
    }

    #[test]
    fn no_part_of_the_last_cpu_time_is_less_than_was_seen_and_its_sum_stays() {
        assert_eq!(balanced((50, 50), (60, 30)), (60, 40));
        assert_eq!(balanced((50, 50), (30, 60)), (40, 60));
        assert_eq!(balanced((50, 50), (30, 30)), (50, 50));
        // More was seen than there is: the sum stays the same.
        assert_eq!(balanced((50, 50), (90, 30)), (70, 30));
        assert_eq!(balanced((50, 50), (0, 130)), (0, 100));
        assert_eq!(balanced((50, 50), (0, 0)), (50, 50));
    }
}
