//! Which kind of context switch a `sched_switch` event was, as the kernel's own accounting has it.
//!
//! When a thread is reaped, the kernel adds its accounting to that of its process. What the thread does after that,
//! most often its last switch, is in no total of the kernel's, and so in none of ours.

/// `TASK_INTERRUPTIBLE`: the thread waits, and a signal would wake it.
const TASK_INTERRUPTIBLE: u64 = 0x1;

/// `TASK_DEAD` in a task's state: the thread has exited and this is the last time it leaves the CPU.
/// Source: `include/linux/sched.h`, unchanged from Linux 4.14 on.
const TASK_DEAD: u64 = 0x80;

/// `PF_EXITING` in a task's flags: the thread has begun to exit. Source: `include/linux/sched.h`.
pub const PF_EXITING: u32 = 0x4;

/// `EXIT_DEAD | EXIT_ZOMBIE` as the classic tracepoint shows them in `prev_state`; it leaves `TASK_DEAD` out.
const EXIT_STATES: u32 = 0x10 | 0x20;

/// `TASK_REPORT_MAX`, by which the classic tracepoint marks a preempted task.
const TASK_REPORT_MAX: u32 = 0x100;

/// A context switch as the kernel's own accounting counts it (`nvcsw` and `nivcsw` of a task).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// The thread gave the CPU away because it waits for something.
    Voluntary,
    /// The thread could have gone on: it was preempted, or yielded.
    Involuntary,
}

impl Switch {
    /// From the arguments of the raw tracepoint: whether the switch was a preemption, and the state of the thread that
    /// leaves the CPU, in the 64 bits in which it is passed. `None` for the last switch of a thread that has exited.
    #[inline(always)]
    pub const fn from_task(preempt: bool, state: u64) -> Option<Self> {
        if preempt || state == 0 {
            Some(Self::Involuntary)
        } else if state & TASK_DEAD != 0 {
            None
        } else {
            Some(Self::Voluntary)
        }
    }

    /// Whether a thread that switches like this can be one that was reaped, so that it is worth the time to check. One
    /// whose wait a signal would end was not: a reaped thread gets no signals.
    #[inline(always)]
    pub const fn can_be_reaped(preempt: bool, state: u64) -> bool {
        preempt || state & TASK_INTERRUPTIBLE == 0
    }

    /// From `prev_state` of the classic tracepoint, which folds preemption into the state and shows an exited
    /// thread by its exit state. Source: `__trace_sched_switch_state` in `include/trace/events/sched.h`.
    #[inline(always)]
    pub const fn from_reported(prev_state: u32) -> Option<Self> {
        if prev_state == 0 || prev_state & TASK_REPORT_MAX != 0 {
            Some(Self::Involuntary)
        } else if prev_state & EXIT_STATES != 0 {
            None
        } else {
            Some(Self::Voluntary)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Switch::{self, Involuntary, Voluntary};

    #[test]
    fn a_thread_that_waits_switches_voluntarily() {
        for state in [
            0x1,   /* interruptible */
            0x2,   /* uninterruptible */
            0x402, /* idle */
            0x4, 0x8, 0x200,
        ] {
            assert_eq!(Switch::from_task(false, state), Some(Voluntary), "{state:#x}");
        }
    }

    #[test]
    fn a_preempted_thread_switches_involuntarily_whatever_its_state() {
        assert_eq!(Switch::from_task(true, 0), Some(Involuntary));
        assert_eq!(Switch::from_task(true, 0x1), Some(Involuntary));
    }

    #[test]
    fn a_runnable_thread_that_yields_switches_involuntarily() {
        assert_eq!(Switch::from_task(false, 0), Some(Involuntary));
    }

    #[test]
    fn the_last_switch_of_an_exited_thread_is_none() {
        assert_eq!(Switch::from_task(false, 0x80), None);
        assert_eq!(Switch::from_reported(0x10), None);
        assert_eq!(Switch::from_reported(0x20), None);
    }

    #[test]
    fn only_a_thread_that_waits_for_signals_too_is_surely_no_reaped_one() {
        assert!(!Switch::can_be_reaped(false, 0x1));
        assert!(Switch::can_be_reaped(true, 0x1));
        for state in [0, 0x2, 0x80] {
            assert!(Switch::can_be_reaped(false, state), "{state:#x}");
        }
    }

    #[test]
    fn the_classic_tracepoint_marks_preemption_in_the_state() {
        assert_eq!(Switch::from_reported(0x100), Some(Involuntary));
        assert_eq!(Switch::from_reported(0), Some(Involuntary));
        assert_eq!(Switch::from_reported(0x1), Some(Voluntary));
        assert_eq!(Switch::from_reported(0x2), Some(Voluntary));
    }
}
