//! The CPU clock of a process: the CPU time of all its threads, in nanoseconds. /proc has nanoseconds of single threads
//! only, and of a process clock ticks of 10 ms.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::Process;

/// `CPUCLOCK_SCHED` of a process, in `include/linux/posix-timers_types.h`.
const CPUCLOCK_SCHED: i32 = 2;

/// The CPU time so far; `None` where no process has the id. A running thread counts up to its last tick.
///
/// The kernel is asked by id, which another process may have by now. The result is of `process` if something that is
/// read through `process` afterwards says that it has not exited.
pub fn read(process: &Process) -> Option<Duration> {
    // The number of a process's clock is the complement of its id, shifted by three bits (`MAKE_PROCESS_CPUCLOCK`).
    let pid = i32::try_from(process.pid()).ok()?;
    let clock = ClockId::from_raw(!pid << 3 | CPUCLOCK_SCHED);
    clock_gettime(clock).ok().map(Duration::from)
}
