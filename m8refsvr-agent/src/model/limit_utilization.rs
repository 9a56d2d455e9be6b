//! How near a process is to its limits. Knows neither where the limits were read nor how the ratios are exported.

use crate::proc::{
    cgroup::CgroupLimits,
    limits::{Limits, ratio},
};

/// The user exempt from `RLIMIT_NPROC`: `copy_process` in `kernel/fork.c` does not apply it to `INIT_USER`.
const ROOT: u32 = 0;

/// What a process uses of limited resources; `None` for what is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub open_files: Option<u64>,
    /// Its real user ID.
    pub user: Option<u32>,
    /// Threads of all visible processes of that user.
    pub user_threads: Option<u64>,
    pub resident_bytes: Option<u64>,
}

/// Used fraction of each limit: 1 when the limit is reached. `None` if there is no limit, or if the limit or its usage
/// is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LimitUtilization {
    /// File descriptors of the process.
    pub open_files: Option<f64>,
    /// Threads of the process's user. A lower bound: the kernel also counts threads of processes that the agent can't
    /// see. Always absent for root, who is exempt from this limit. Users with `CAP_SYS_RESOURCE` or `CAP_SYS_ADMIN`
    /// are exempt too, but get a value all the same.
    pub user_processes: Option<f64>,
    /// Threads in the process's cgroup that is nearest to its limit.
    pub cgroup_pids: Option<f64>,
    /// Resident memory of the process, as a fraction of the smallest limit of its cgroups. A lower bound: cgroups
    /// also count other processes and the page cache.
    pub cgroup_memory: Option<f64>,
}

/// A limit of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `RLIMIT_NOFILE`.
    OpenFiles,
    /// `RLIMIT_NPROC`.
    UserProcesses,
    /// `pids.max` of a cgroup.
    CgroupPids,
    /// `memory.max` of a cgroup.
    CgroupMemory,
}

impl Limit {
    pub const ALL: [Self; 4] = [Self::OpenFiles, Self::UserProcesses, Self::CgroupPids, Self::CgroupMemory];
}

impl LimitUtilization {
    pub fn get(&self, limit: Limit) -> Option<f64> {
        match limit {
            Limit::OpenFiles => self.open_files,
            Limit::UserProcesses => self.user_processes,
            Limit::CgroupPids => self.cgroup_pids,
            Limit::CgroupMemory => self.cgroup_memory,
        }
    }

    /// For one process; `None` for limits that could not be read.
    pub fn of(usage: &Usage, limits: Option<&Limits>, bounds: Option<&CgroupLimits>) -> Self {
        let user_threads = usage.user.filter(|&user| user != ROOT).and(usage.user_threads);
        Self {
            open_files: limits.and_then(|limits| limits.open_files.ratio(usage.open_files?)),
            user_processes: limits.and_then(|limits| limits.processes.ratio(user_threads?)),
            cgroup_pids: bounds.and_then(|bounds| Some(bounds.pids?.ratio())),
            cgroup_memory: bounds.and_then(|bounds| Some(ratio(usage.resident_bytes?, bounds.memory_bytes?))),
        }
    }

    /// The largest value of each ratio.
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        let larger = |one: Option<f64>, other| one.into_iter().chain(other).reduce(f64::max);
        all.into_iter().fold(Self::default(), |worst, one| Self {
            open_files: larger(worst.open_files, one.open_files),
            user_processes: larger(worst.user_processes, one.user_processes),
            cgroup_pids: larger(worst.cgroup_pids, one.cgroup_pids),
            cgroup_memory: larger(worst.cgroup_memory, one.cgroup_memory),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::{cgroup::Pids, limits::Limit};

    const USAGE: Usage = Usage {
        open_files: Some(256),
        user: Some(1000),
        user_threads: Some(50),
        resident_bytes: Some(3 << 20),
    };
    const LIMITS: Limits = Limits { open_files: Limit::Of(1024), processes: Limit::Of(100) };
    const BOUNDS: CgroupLimits =
        CgroupLimits { pids: Some(Pids { current: 9, max: 10 }), memory_bytes: Some(4 << 20) };

    fn used(ratios: [Option<f64>; 4]) -> LimitUtilization {
        let [open_files, user_processes, cgroup_pids, cgroup_memory] = ratios;
        LimitUtilization { open_files, user_processes, cgroup_pids, cgroup_memory }
    }

    #[test]
    fn each_use_is_divided_by_its_own_limit() {
        let expected = used([Some(0.25), Some(0.5), Some(0.9), Some(0.75)]);
        assert_eq!(LimitUtilization::of(&USAGE, Some(&LIMITS), Some(&BOUNDS)), expected);
    }

    #[test]
    fn where_there_is_no_limit_there_is_no_ratio() {
        let limits = Limits { open_files: Limit::Unlimited, processes: Limit::Unlimited };
        let bounds = CgroupLimits { pids: None, memory_bytes: None };
        assert_eq!(LimitUtilization::of(&USAGE, Some(&limits), Some(&bounds)), LimitUtilization::default());
    }

    #[test]
    fn what_is_not_known_takes_its_own_ratio_away_and_no_other() {
        let cgroups = used([None, None, Some(0.9), Some(0.75)]);
        assert_eq!(LimitUtilization::of(&USAGE, None, Some(&BOUNDS)), cgroups);
        let own = used([Some(0.25), Some(0.5), None, None]);
        assert_eq!(LimitUtilization::of(&USAGE, Some(&LIMITS), None), own);
        let pids = used([None, None, Some(0.9), None]);
        assert_eq!(LimitUtilization::of(&Usage::default(), Some(&LIMITS), Some(&BOUNDS)), pids);
        let user_unknown = used([Some(0.25), None, Some(0.9), Some(0.75)]);
        let usage = Usage { user: None, ..USAGE };
        assert_eq!(LimitUtilization::of(&usage, Some(&LIMITS), Some(&BOUNDS)), user_unknown);
    }

    #[test]
    fn root_is_not_bound_by_the_limit_of_processes() {
        let usage = Usage { user: Some(0), ..USAGE };
        let limits_used = LimitUtilization::of(&usage, Some(&LIMITS), None);
        assert_eq!((limits_used.open_files, limits_used.user_processes), (Some(0.25), None));
    }

    #[test]
    fn limits_of_0_are_used_up() {
        let limits = Limits { open_files: Limit::Of(0), processes: Limit::Of(0) };
        let bounds = CgroupLimits { pids: Some(Pids { current: 0, max: 0 }), memory_bytes: Some(0) };
        let used_up = used([Some(1.0); 4]);
        assert_eq!(LimitUtilization::of(&USAGE, Some(&limits), Some(&bounds)), used_up);
    }

    #[test]
    fn the_worst_of_several_is_taken_field_by_field() {
        let several = [
            used([Some(0.1), Some(0.9), None, None]),
            used([Some(0.3), Some(0.2), None, Some(0.0)]),
            used([None, None, None, None]),
        ];
        let expected = used([Some(0.3), Some(0.9), None, Some(0.0)]);
        assert_eq!(LimitUtilization::worst(several), expected);
        assert_eq!(LimitUtilization::worst(several.into_iter().rev()), expected);
        assert_eq!(LimitUtilization::worst([]), LimitUtilization::default());
    }
}
