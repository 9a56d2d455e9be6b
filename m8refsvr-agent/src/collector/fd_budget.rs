//! The file descriptor budget: how many files of processes stay open from one collection to the next.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::proc::Process;

/// The most descriptors for files that stay open: of 4,096 idle processes, or of 2,730 active ones. An open file costs
/// the kernel memory; opening it at each collection costs time (`cargo xtask bench memory`, `cargo xtask bench
/// collection`). All of them together take 40 MiB of kernel memory, which the unit's MemoryMax must allow.
const MOST: usize = 16_384;

/// Descriptors for everything else: BPF programs and maps, receivers, and the files that a collection opens.
const OTHER_DESCRIPTORS: u64 = 256;

/// So many collections after one that failed keep no file open, as its cause may last. After so many that succeeded the
/// budget doubles, up to what it was.
const COLLECTIONS_CLOSED: u32 = 60;

/// A budget of descriptors.
#[derive(Debug)]
pub(crate) struct FdBudget {
    /// What it is while no collection fails.
    full: usize,
    /// What it is now.
    most: usize,
    /// What is not in use.
    available: usize,
    /// Collections that are still to keep no file open.
    closed: u32,
    /// Collections that succeeded since the budget last changed.
    succeeded: u32,
}

impl FdBudget {
    /// As large as `RLIMIT_NOFILE` of this process allows, which is raised as far as possible.
    pub(crate) fn new() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let limit = if raised.is_ok() { maximum } else { current };
        // `None` is no limit.
        let descriptors = limit.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS);
        Self::of(usize::try_from(descriptors).unwrap_or(usize::MAX).min(MOST))
    }

    fn of(full: usize) -> Self {
        Self { full, most: full, available: 0, closed: 0, succeeded: 0 }
    }

    /// A collection begins. `held` are the processes whose files are open already.
    pub(crate) fn begin_collection<'a>(&mut self, held: impl Iterator<Item = &'a Process>) {
        if self.closed > 0 {
            self.closed -= 1;
            self.available = 0;
            return;
        }
        self.succeeded += 1;
        if self.succeeded > COLLECTIONS_CLOSED {
            self.succeeded = 0;
            self.most = self.full.min(self.most.max(1) * 2);
        }
        self.available = self.most.saturating_sub(held.map(Process::kept_descriptors).sum());
    }

    /// Keeps the files of a process open if the budget allows.
    pub(crate) fn hold(&mut self, mut process: Process) -> Process {
        // Whoever reads the process reports what can't be opened.
        if self.available >= Process::KEPT_DESCRIPTORS && process.keep().is_ok() {
            self.available -= Process::KEPT_DESCRIPTORS;
        }
        process
    }

    /// Keeps those files of a process open that it did not need while it was idle, if the budget allows.
    pub(crate) fn wake(&mut self, process: &mut Process) {
        if process.is_idle() && self.available >= Process::ACTIVE_DESCRIPTORS {
            process.set_active();
            self.available -= Process::ACTIVE_DESCRIPTORS;
        }
    }

    /// A collection failed, perhaps for want of descriptors or memory: no file stays open for a while, and then half as
    /// many as before.
    pub(crate) fn close(&mut self) {
        if self.closed == 0 {
            self.most /= 2;
        }
        (self.available, self.closed, self.succeeded) = (0, COLLECTIONS_CLOSED, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Proc;

    fn this() -> Process {
        Proc::new("/proc").process(std::process::id()).unwrap()
    }

    fn kept_process() -> Process {
        let mut process = this();
        process.keep().unwrap();
        process
    }

    fn budget_of(processes: usize) -> FdBudget {
        FdBudget::of(processes * Process::KEPT_DESCRIPTORS)
    }

    /// How many processes a collection keeps open beside those that are held.
    fn kept(budget: &mut FdBudget, held: &[Process]) -> usize {
        budget.begin_collection(held.iter());
        (0..6).filter(|_| budget.hold(this()).is_kept()).count()
    }

    #[test]
    fn as_many_processes_are_kept_open_as_the_budget_allows() {
        let mut budget = budget_of(4);
        let mut held = Vec::new();
        for expected in [4, 3, 2, 1, 0, 0] {
            assert_eq!(kept(&mut budget, &held), expected);
            held.push(kept_process());
        }
    }

    #[test]
    fn idle_processes_need_less_and_are_active_again_where_the_budget_allows() {
        let mut budget = budget_of(4);
        let mut held: Vec<Process> = (0..3).map(|_| kept_process()).collect();
        held.iter_mut().for_each(Process::set_idle);
        assert_eq!(kept(&mut budget, &held), 2);
        held.push(kept_process());
        budget.begin_collection(held.iter());
        assert!(budget.hold(this()).is_kept());
        held.iter_mut().for_each(|process| budget.wake(process));
        assert_eq!(held.iter().filter(|process| process.is_idle()).count(), 3, "the budget is used up");
        budget.begin_collection(held.iter());
        held.iter_mut().for_each(|process| budget.wake(process));
        assert_eq!(held.iter().filter(|process| process.is_idle()).count(), 0);
    }

    #[test]
    fn after_a_collection_that_failed_nothing_is_kept_open_for_a_while_and_then_half_as_much() {
        let mut budget = budget_of(4);
        assert_eq!(kept(&mut budget, &[]), 4);
        // However many collections in a row fail.
        budget.close();
        budget.close();
        for _ in 0..COLLECTIONS_CLOSED {
            assert_eq!(kept(&mut budget, &[]), 0);
        }
        for _ in 0..COLLECTIONS_CLOSED {
            assert_eq!(kept(&mut budget, &[]), 2);
        }
        for _ in 0..3 * COLLECTIONS_CLOSED {
            assert_eq!(kept(&mut budget, &[]), 4);
        }
    }
}
