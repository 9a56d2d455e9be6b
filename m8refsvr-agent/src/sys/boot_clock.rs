//! Times by the clock that runs since the machine started, which is never set, and by which the kernel notes when
//! processes start and end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};

/// When the machine started.
#[derive(Clone, Copy, Debug)]
pub struct Boot(SystemTime);

impl Boot {
    /// As exactly as clock ticks are, so that the start of a process is the same to every agent. Taken once, so that
    /// it never moves.
    pub fn of_this_machine() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let booted = since_epoch.saturating_sub(since_boot());
        Self(UNIX_EPOCH + of_ticks(ticks(booted + of_ticks(1) / 2)))
    }

    /// The time so long after it.
    pub fn time(self, since: Duration) -> SystemTime {
        self.0 + since
    }
}

/// Time since the machine started.
pub fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// A length of time in clock ticks.
pub fn ticks(duration: Duration) -> u64 {
    let ticks = duration.as_nanos() * u128::from(clock_ticks_per_second()) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Clock ticks as a length of time.
pub fn of_ticks(ticks: u64) -> Duration {
    let per_second = clock_ticks_per_second().max(1);
    // As long as fits in so many nanoseconds, whatever /proc says.
    let ticks = ticks.min(u64::MAX / 1_000_000_000 * per_second);
    let nanoseconds = ticks % per_second * 1_000_000_000 / per_second;
    // Less than a second.
    Duration::new(ticks / per_second, u32::try_from(nanoseconds).unwrap_or_default())
}

/// Nanoseconds as seconds.
pub(crate) fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// procfs has it from `/proc/stat`, in whole seconds.
    #[test]
    fn the_machine_started_when_another_reading_says_so() {
        let booted = Boot::of_this_machine().time(Duration::ZERO).duration_since(UNIX_EPOCH).unwrap();
        let of_kernel = Duration::from_secs(procfs::boot_time_secs().unwrap());
        assert!(booted.abs_diff(of_kernel) <= Duration::from_secs(2), "{booted:?} {of_kernel:?}");
    }
}
