//! A process as the kernel has it: what its threads share, and its thread group leader.

use aya_ebpf::Global;
use m8refsvr_common::{accounting::Accounting, record::OOM_VICTIM};

use super::accounting::write_at_once;
use crate::offsets::{OFFSETS, read_u32, read_u64};

/// `SIGNAL_GROUP_EXIT` in a process's flags: it ends as a whole, by one code. Source: `include/linux/sched/signal.h`.
const SIGNAL_GROUP_EXIT: u32 = 0x4;

/// Nanoseconds in a clock tick, as /proc shows starts of processes.
#[unsafe(no_mangle)]
static TICK: Global<u64> = Global::new(10_000_000);

/// A time in clock ticks, as /proc shows it.
#[inline(always)]
pub(super) fn ticks(nanoseconds: u64) -> u64 {
    nanoseconds.checked_div(TICK.load()).unwrap_or(0)
}

/// A process, by what its threads share.
pub(super) struct Process {
    /// Its `signal_struct`, which lives as long as any of its threads runs.
    pub(super) signal: u64,
    /// Its thread group leader, if that has not been reaped.
    pub(super) leader: Option<u64>,
}

impl Process {
    /// That of a thread.
    #[inline(always)]
    pub(super) fn of(task: u64) -> Self {
        let signal = read_u64(task, &OFFSETS.task.signal);
        let leader = read_u64(task, &OFFSETS.task.group_leader);
        // The leader may be reaped while another thread is on its last steps, and its memory used for another task.
        let is_ours = read_u64(leader, &OFFSETS.task.signal) == signal;
        Self { signal, leader: if is_ours { Some(leader) } else { None } }
    }

    /// Writes the accounting of the process: that of its reaped threads and that of its leader, which is the only
    /// thread that can be left when this is called.
    ///
    /// # Safety
    /// `values` is a record in a map that nobody else writes to.
    #[inline(always)]
    pub(super) unsafe fn write_accounting(&self, values: *mut Accounting) {
        let leader = self.leader.unwrap_or(0);
        // SAFETY: the caller's. The kernel changes the values within some additions, so that few attempts are enough.
        // There is no loop, as the verifier of Linux 5.10 refuses one that begins after a call.
        unsafe {
            let _ = write_at_once(self.signal, leader, values)
                || write_at_once(self.signal, leader, values)
                || write_at_once(self.signal, leader, values)
                || write_at_once(self.signal, leader, values);
        }
    }

    /// The exit status, as `wait_task_zombie` (`kernel/exit.c`) reports it, and whether the OOM killer chose the
    /// process: it then sets `oom_mm` (`mark_oom_victim` in `mm/oom_kill.c`).
    #[inline(always)]
    pub(super) fn status(&self) -> u64 {
        let code = match self.leader {
            Some(leader) if read_u32(self.signal, &OFFSETS.signal.flags) & SIGNAL_GROUP_EXIT == 0 => {
                read_u32(leader, &OFFSETS.task.exit_code)
            }
            _ => read_u32(self.signal, &OFFSETS.signal.exit_code),
        };
        let is_victim = read_u64(self.signal, &OFFSETS.signal.oom_memory) != 0;
        u64::from(code & 0xffff) | if is_victim { OOM_VICTIM } else { 0 }
    }
}
