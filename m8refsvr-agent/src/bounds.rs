//! What bounds each process: its resource limits and its control groups, as far as they are kept from one look to the
//! next.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    headroom::{Headroom, Usage},
    proc::{
        Proc, Process,
        cgroup::{self, Cgroups, Hierarchies},
        limits::{Limits, real_user},
    },
    sample::{Identity, ProcessSample},
};

/// For so long the limits of a process are taken to be what they were: hardly anybody changes them while it runs.
const KEPT: Duration = Duration::from_secs(60);

/// Reads what bounds processes.
#[derive(Debug)]
pub(crate) struct Bounds {
    cgroups: Cgroups,
    known: HashMap<Identity, Known>,
}

/// What is kept of a process.
#[derive(Clone, Copy, Debug)]
struct Known {
    read: Instant,
    limits: Option<Limits>,
    user: Option<u32>,
}

/// What bounds one process; `None` for what could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bound {
    limits: Option<Limits>,
    user: Option<u32>,
    cgroup: Option<cgroup::Bounds>,
}

impl Bounds {
    /// Of the processes in `proc`, whose control groups are on this machine.
    pub(crate) fn new(proc: &Proc) -> Self {
        let hierarchies = Hierarchies::read(proc, Path::new("/")).unwrap_or_else(|error| {
            tracing::debug!("control groups can't be found: {error}");
            Hierarchies::default()
        });
        Self { cgroups: Cgroups::new(hierarchies), known: HashMap::new() }
    }

    /// A look begins: what control groups use is read anew.
    pub(crate) fn begin_look(&mut self) {
        self.cgroups.begin_look();
    }

    /// What bounds a process. `thread` is a living thread of it where its first has ended, of which the kernel shows
    /// no control groups then.
    pub(crate) fn of(
        &mut self,
        identity: Identity,
        process: &Process,
        thread: Option<&Process>,
        buffer: &mut Vec<u8>,
    ) -> Bound {
        let now = Instant::now();
        let known = self.known.get(&identity).copied();
        let known =
            known.filter(|known| now.saturating_duration_since(known.read) < KEPT).unwrap_or_else(|| {
                let limits = Limits::read(process, buffer).ok();
                Known { read: now, limits, user: real_user(process, buffer).ok() }
            });
        self.known.insert(identity, known);
        let cgroup = self.cgroups.of(thread.unwrap_or(process), buffer).ok();
        Bound { limits: known.limits, user: known.user, cgroup }
    }

    /// A look is over: tells each of its processes how near it is to its limits, and forgets all others.
    pub(crate) fn end_look(&mut self, processes: &mut [(ProcessSample, Bound)]) {
        let mut threads: HashMap<u32, u64> = HashMap::new();
        for (process, bound) in processes.iter() {
            if let Some(user) = bound.user {
                *threads.entry(user).or_default() += process.threads;
            }
        }
        for (process, bound) in processes.iter_mut() {
            let usage = Usage {
                open_files: process.open_files,
                user: bound.user,
                user_threads: bound.user.and_then(|user| threads.get(&user).copied()),
                resident_bytes: process.resident_bytes,
            };
            process.headroom = Headroom::of(&usage, bound.limits.as_ref(), bound.cgroup.as_ref());
        }
        if self.known.len() > processes.len() {
            let mut earlier = std::mem::take(&mut self.known);
            let kept = processes.iter().filter_map(|(process, _)| earlier.remove_entry(&process.identity));
            self.known = kept.collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{proc::limits::Limit, sample::fixtures::process};

    #[test]
    fn threads_of_a_user_are_those_of_all_its_processes() {
        let mut bounds = Bounds::new(&Proc::new("/nowhere"));
        let limits = Limits { open_files: Limit::Of(124), processes: Limit::Of(10) };
        let bound = |user| Bound { limits: Some(limits), user: Some(user), cgroup: None };
        // Threads are one more than the process id.
        let mut processes =
            [(process(1, 5, 0), bound(7)), (process(2, 5, 0), bound(7)), (process(3, 5, 0), bound(8))];
        bounds.end_look(&mut processes);
        let ratios = processes.map(|(process, _)| process.headroom.user_processes);
        assert_eq!(ratios, [Some(0.5), Some(0.5), Some(0.4)]);
    }

    #[test]
    fn what_is_kept_of_a_process_goes_with_it_and_its_limits_are_not_read_each_time() {
        let root = tempfile::tempdir().unwrap();
        let limits = |files: u32| {
            let folder = root.path().join("7");
            std::fs::create_dir_all(&folder).unwrap();
            let line = |name: &str, soft: u32| format!("{name:<25} {soft:<20} {soft:<20} units\n");
            let text = line("Max processes", 10) + &line("Max open files", files);
            std::fs::write(folder.join("limits"), text).unwrap();
        };
        let proc = Proc::new(root.path());
        let mut bounds = Bounds::new(&proc);
        let mut look = |files| {
            limits(files);
            bounds.begin_look();
            let sample = process(7, 5, 0);
            let held = proc.process(7).unwrap();
            let bound = bounds.of(sample.identity, &held, None, &mut Vec::new());
            let mut processes = [(sample, bound)];
            bounds.end_look(&mut processes);
            (processes[0].0.headroom.open_files, bounds.known.len())
        };
        assert_eq!(look(124), (Some(0.5), 1));
        assert_eq!(look(62), (Some(0.5), 1));
        bounds.end_look(&mut []);
        assert_eq!(bounds.known.len(), 0);
    }
}
