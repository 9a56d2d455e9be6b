//! The CPU clock of a process: what all of its threads have run, in nanoseconds. /proc has that of single threads alone,
//! and of a process in ticks of 10 ms.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::Process;

/// `CPUCLOCK_SCHED` in `include/linux/posix-timers_types.h`: what the scheduler gave, and of a whole process.
const OF_PROCESS: i32 = 2;

/// What it says, if there is such a process; it does not count what a thread that runs just now has run since the last tick. Whoever has the id is
/// asked: it tells of `process` where something that is read of it later says that it has not ended.
pub fn read(process: &Process) -> Option<Duration> {
    // The clocks of processes have negative numbers: the complement of the id, above three bits.
    let pid = i32::try_from(process.pid).ok()?;
    let clock = ClockId::from_raw(!pid << 3 | OF_PROCESS);
    clock_gettime(clock).ok().map(Duration::from)
}
