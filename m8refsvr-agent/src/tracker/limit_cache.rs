//! The resource limits and control groups of each process, cached from one collection to the next.

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

/// How long limits and control groups of a process are cached: they hardly change while it runs.
const KEPT: Duration = Duration::from_secs(60);

/// A collection reads them of at most so many processes, as that takes longer than everything else together; or of one
/// in [`MOST_TURNS`] processes, if that is more.
const ASKED: usize = 16;

/// After so many collections every process was read.
const MOST_TURNS: usize = 32;

/// Reads what bounds processes.
#[derive(Debug)]
pub(crate) struct Bounds {
    cgroups: Cgroups,
    /// Collections so far.
    looks: usize,
    /// In how many turns the processes are asked.
    turns: usize,
    /// Processes so far in this collection.
    place: usize,
}

/// What is kept of a process.
#[derive(Debug, Default)]
pub(crate) struct Known {
    read: Option<Instant>,
    limits: Option<Limits>,
    user: Option<u32>,
    membership: Option<Membership>,
}

/// What bounds one process; `None` for what could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bound {
    limits: Option<Limits>,
    user: Option<u32>,
    cgroup: Option<CgroupLimits>,
}

impl Bounds {
    /// Of the processes in `proc`, whose control groups are on this machine.
    pub(crate) fn new(proc: &Proc) -> Self {
        let hierarchies = Hierarchies::read(proc, Path::new("/")).unwrap_or_else(|error| {
            tracing::debug!("control groups can't be found: {error}");
            Hierarchies::default()
        });
        Self { cgroups: Cgroups::new(hierarchies), looks: 0, turns: 1, place: 0 }
    }

    /// A collection at so many processes begins: what control groups use is read anew.
    pub(crate) fn begin_collection(&mut self, processes: usize) {
        self.cgroups.begin_collection();
        self.looks = self.looks.wrapping_add(1);
        self.turns = processes.div_ceil(ASKED).clamp(1, MOST_TURNS);
        self.place = 0;
    }

    /// What bounds the next process. `thread` is a living thread of it where its first has ended, of which the kernel
    /// shows no control groups then.
    pub(crate) fn of(
        &mut self,
        known: &mut Known,
        process: &Process,
        thread: Option<&Process>,
        buffer: &mut Vec<u8>,
    ) -> Bound {
        self.place += 1;
        let has_turn = (self.place + self.looks).is_multiple_of(self.turns);
        if known.read.is_none_or(|read| has_turn && read.elapsed() >= KEPT) {
            *known = Known {
                read: Some(Instant::now()),
                limits: Limits::read(process, buffer).ok(),
                user: real_user(process, buffer).ok(),
                membership: self.cgroups.membership(thread.unwrap_or(process), buffer).ok(),
            };
        }
        let cgroup = known.membership.as_ref().map(|membership| self.cgroups.limits(membership));
        Bound { limits: known.limits, user: known.user, cgroup }
    }

    /// A collection is over: tells each of its processes how near it is to its limits, which are in the same order.
    pub(crate) fn end_collection(processes: &mut [ProcessSample], bounds: &[Bound]) {
        let mut threads: HashMap<u32, u64> = HashMap::new();
        for (process, bound) in processes.iter().zip(bounds) {
            if let Some(user) = bound.user {
                *threads.entry(user).or_default() += process.threads;
            }
        }
        for (process, bound) in processes.iter_mut().zip(bounds) {
            let usage = Usage {
                open_files: process.open_files,
                user: bound.user,
                user_threads: bound.user.and_then(|user| threads.get(&user).copied()),
                resident_bytes: process.resident_bytes,
            };
            process.limits_used = LimitUtilization::of(&usage, bound.limits.as_ref(), bound.cgroup.as_ref());
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
        let bound = |user| Bound { limits: Some(limits), user: Some(user), cgroup: None };
        // Threads are one more than the process id.
        let mut processes = [process(1, 5, 0), process(2, 5, 0), process(3, 5, 0)];
        Bounds::end_collection(&mut processes, &[bound(7), bound(7), bound(8)]);
        let ratios = processes.map(|process| process.limits_used.user_processes);
        assert_eq!(ratios, [Some(0.5), Some(0.5), Some(0.4)]);
    }

    /// Processes, and what is known of them.
    struct Machine {
        root: tempfile::TempDir,
        proc: Proc,
        bounds: Bounds,
        known: Vec<Known>,
    }

    impl Machine {
        fn new(processes: usize) -> Self {
            let root = tempfile::tempdir().unwrap();
            let proc = Proc::new(root.path());
            let known = std::iter::repeat_with(Known::default).take(processes).collect();
            Self { root, bounds: Bounds::new(&proc), proc, known }
        }

        /// A collection, when all have this limit; of how many it was seen.
        fn collect(&mut self, files: u64) -> usize {
            // One file stands for those of all.
            let folder = self.root.path().join("7");
            std::fs::create_dir_all(&folder).unwrap();
            let known = include_str!("../../fuzz/corpus/proc_limits/sleep");
            std::fs::write(folder.join("limits"), known.replace("20000", &files.to_string())).unwrap();
            let process = self.proc.process(7).unwrap();
            self.bounds.begin_collection(self.known.len());
            let Self { bounds, known, .. } = self;
            let mut bound = |known: &mut Known| bounds.of(known, &process, None, &mut Vec::new());
            let seen = known.iter_mut().map(|known| bound(known).limits.unwrap().open_files);
            seen.filter(|&limit| limit == Limit::Of(files)).count()
        }

        fn a_minute_later(&mut self) {
            for known in &mut self.known {
                known.read = known.read.and_then(|read| read.checked_sub(KEPT));
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
    fn of_many_processes_a_collection_reads_some_and_all_have_their_turn() {
        let mut machine = Machine::new(MOST_TURNS * 20);
        assert_eq!(machine.collect(0), MOST_TURNS * 20);
        for look in 1..=MOST_TURNS {
            machine.a_minute_later();
            assert_eq!(machine.collect(look as u64), 20);
        }
        let seen = machine.known.iter().map(|known| known.limits.unwrap().open_files);
        assert!(!seen.into_iter().any(|limit| limit == Limit::Of(0)));
    }
}
