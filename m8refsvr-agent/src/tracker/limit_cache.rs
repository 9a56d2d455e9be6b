//! The resource limits and cgroups of each process, cached from one collection to the next.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    model::{
        limit_utilization::{LimitUtilization, Usage},
        sample::ProcessSample,
    },
    proc::{
        Proc, Process,
        cgroup::{CgroupLimits, Cgroups, Hierarchies, Membership},
        limits::Limits,
        status::real_user,
    },
};

/// How long limits and cgroups of a process are cached: they hardly change while it runs.
const LIFETIME: Duration = Duration::from_secs(60);

/// One collection reads the limits of at most so many processes, as that takes longer than everything else together; or
/// of one in [`LONGEST_PERIOD`] processes, if that is more.
const READ_TOGETHER: usize = 16;

/// The most collections until the limits of every process were read.
const LONGEST_PERIOD: usize = 32;

/// Reads the limits of processes.
#[derive(Debug)]
pub(crate) struct LimitCache {
    cgroups: Cgroups,
    collections: usize,
    /// In how many collections the limits of all processes are read.
    period: usize,
    /// Position of the process among those of this collection.
    position: usize,
}

/// What is cached of one process.
#[derive(Debug, Default)]
pub(crate) struct CachedLimits {
    read: Option<Instant>,
    limits: Option<Limits>,
    user: Option<u32>,
    membership: Option<Membership>,
}

/// The limits of one process; `None` for what could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessLimits {
    limits: Option<Limits>,
    user: Option<u32>,
    cgroup: Option<CgroupLimits>,
}

impl LimitCache {
    /// For the processes in `proc`, whose cgroups are on this machine.
    pub(crate) fn new(proc: &Proc) -> Self {
        let hierarchies = Hierarchies::read(proc, Path::new("/")).unwrap_or_else(|error| {
            tracing::debug!("cgroups can't be found: {error}");
            Hierarchies::default()
        });
        Self { cgroups: Cgroups::new(hierarchies), collections: 0, period: 1, position: 0 }
    }

    /// Begins a collection of so many processes: what cgroups use is read again.
    pub(crate) fn begin_collection(&mut self, processes: usize) {
        self.cgroups.begin_collection();
        self.collections = self.collections.wrapping_add(1);
        self.period = processes.div_ceil(READ_TOGETHER).clamp(1, LONGEST_PERIOD);
        self.position = 0;
    }

    /// The limits of the next process. `thread` is a living thread where the thread group leader has exited: the kernel
    /// shows no cgroup of an exited leader.
    pub(crate) fn limits(
        &mut self,
        cached: &mut CachedLimits,
        process: &Process,
        thread: Option<&Process>,
        buffer: &mut Vec<u8>,
    ) -> ProcessLimits {
        self.position += 1;
        let is_due = (self.position + self.collections).is_multiple_of(self.period);
        if cached.read.is_none_or(|read| is_due && read.elapsed() >= LIFETIME) {
            *cached = CachedLimits {
                read: Some(Instant::now()),
                limits: Limits::read(process, buffer).ok(),
                user: real_user(process, buffer).ok(),
                membership: self.cgroups.membership(thread.unwrap_or(process), buffer).ok(),
            };
        }
        let cgroup = cached.membership.as_ref().map(|membership| self.cgroups.limits(membership));
        ProcessLimits { limits: cached.limits, user: cached.user, cgroup }
    }

    /// Sets the utilization of each process's limits. `limits` has the limits in the order of `processes`.
    pub(crate) fn end_collection(processes: &mut [ProcessSample], limits: &[ProcessLimits]) {
        let mut threads: HashMap<u32, u64> = HashMap::new();
        for (process, limits) in processes.iter().zip(limits) {
            if let Some(user) = limits.user {
                *threads.entry(user).or_default() += process.threads;
            }
        }
        for (process, limits) in processes.iter_mut().zip(limits) {
            let usage = Usage {
                open_files: process.open_files,
                user: limits.user,
                user_threads: limits.user.and_then(|user| threads.get(&user).copied()),
                resident_bytes: process.resident_bytes,
            };
            process.limits_used =
                LimitUtilization::of(&usage, limits.limits.as_ref(), limits.cgroup.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::sample::fixtures::process, proc::limits::Limit};

    #[test]
    fn threads_of_a_user_are_those_of_all_its_processes() {
        let limits = Limits { open_files: Limit::Of(124), processes: Limit::Of(10) };
        let limits = |user| ProcessLimits { limits: Some(limits), user: Some(user), cgroup: None };
        // Threads are one more than the process id.
        let mut processes = [process(1, 5, 0), process(2, 5, 0), process(3, 5, 0)];
        LimitCache::end_collection(&mut processes, &[limits(7), limits(7), limits(8)]);
        let ratios = processes.map(|process| process.limits_used.user_processes);
        assert_eq!(ratios, [Some(0.5), Some(0.5), Some(0.4)]);
    }

    /// Processes, and what is cached of them.
    struct Machine {
        root: tempfile::TempDir,
        proc: Proc,
        limits: LimitCache,
        cached: Vec<CachedLimits>,
    }

    impl Machine {
        fn new(processes: usize) -> Self {
            let root = tempfile::tempdir().unwrap();
            let proc = Proc::new(root.path());
            let cached = std::iter::repeat_with(CachedLimits::default).take(processes).collect();
            Self { root, limits: LimitCache::new(&proc), proc, cached }
        }

        /// A collection, when all have this limit. Returns of how many it was seen.
        fn collect(&mut self, files: u64) -> usize {
            // One file stands for those of all.
            let folder = self.root.path().join("7");
            std::fs::create_dir_all(&folder).unwrap();
            let content = include_str!("../../fuzz/corpus/proc_limits/sleep");
            std::fs::write(folder.join("limits"), content.replace("20000", &files.to_string())).unwrap();
            let process = self.proc.process(7).unwrap();
            self.limits.begin_collection(self.cached.len());
            let Self { limits, cached, .. } = self;
            let mut read = |cached: &mut CachedLimits| limits.limits(cached, &process, None, &mut Vec::new());
            let seen = cached.iter_mut().map(|cached| read(cached).limits.unwrap().open_files);
            seen.filter(|&limit| limit == Limit::Of(files)).count()
        }

        fn a_minute_later(&mut self) {
            for cached in &mut self.cached {
                cached.read = cached.read.and_then(|read| read.checked_sub(LIFETIME));
            }
        }
    }

    #[test]
    fn the_limits_of_a_process_are_read_once_a_minute() {
        let mut machine = Machine::new(1);
        assert_eq!([machine.collect(124), machine.collect(62)], [1, 0]);
        machine.a_minute_later();
        assert_eq!(machine.collect(62), 1);
    }

    #[test]
    fn of_many_processes_one_collection_reads_some_and_then_others() {
        let mut machine = Machine::new(LONGEST_PERIOD * 20);
        assert_eq!(machine.collect(0), LONGEST_PERIOD * 20);
        for turn in 1..=LONGEST_PERIOD {
            machine.a_minute_later();
            assert_eq!(machine.collect(turn as u64), 20);
        }
        let seen = machine.cached.iter().map(|cached| cached.limits.unwrap().open_files);
        assert!(!seen.into_iter().any(|limit| limit == Limit::Of(0)));
    }
}
