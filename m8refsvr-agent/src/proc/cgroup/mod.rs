//! Control groups of a process: which ones it is in (`membership`), where they are mounted (`mounts`), and how they and
//! all above them limit it (`limits`). Both versions of cgroups are read, and machines that use both.
//!
//! Layouts: `proc_cgroup_show` in `kernel/cgroup/cgroup.c` (`/proc/PID/cgroup`),
//! `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/` beside it.

mod controller;
mod limits;
mod membership;
mod mounts;
#[cfg(test)]
mod tests;

pub use controller::{Controller, Hierarchy};
pub use limits::{CgroupLimits, Cgroups, Pids};
pub use membership::Membership;
pub use mounts::Hierarchies;
