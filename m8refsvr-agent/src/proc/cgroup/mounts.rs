//! Where hierarchies of cgroups are mounted, and which folders below the mount points are a process's cgroups.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use super::{
    controller::{Controller, Hierarchy},
    membership::Membership,
};
use crate::proc::{mount, root::Proc};

/// The types of file systems that show cgroups.
const FILE_SYSTEMS: &[&str] = &["cgroup", "cgroup2"];

/// The mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    pub(super) mounts: Vec<HierarchyMount>,
}

impl Hierarchies {
    /// From `self/mountinfo` of a /proc. That is what the agent itself sees, also where that /proc is the host's and
    /// the agent runs in a container. Mount points are below `root`, usually `/`.
    pub fn read(proc: &Proc, root: &Path) -> io::Result<Self> {
        Ok(Self::of(mount::mounts_of(proc, FILE_SYSTEMS)?, root))
    }

    /// From the text of a mountinfo. Lines that can't be parsed are left out.
    pub fn parse(mountinfo: &[u8], root: &Path) -> Self {
        Self::of(mount::mounts_in(mountinfo, FILE_SYSTEMS).unwrap_or_default(), root)
    }

    fn of(mounts: Vec<mount::Mount>, root: &Path) -> Self {
        let mut mounts: Vec<_> =
            mounts.into_iter().filter_map(|mount| HierarchyMount::new(mount, root)).collect();
        // Of two mounts that show a cgroup, the one with the shorter root shows more of the cgroups above it.
        mounts.sort_by_key(|mount| mount.root.as_os_str().len());
        Self { mounts }
    }

    /// The folders of the cgroup in which a controller has a process, and of all cgroups above it that a mount shows.
    pub fn folders(
        &self,
        membership: &Membership,
        controller: Controller,
    ) -> impl Iterator<Item = (Hierarchy, PathBuf)> {
        let shown = membership.path_of(controller).and_then(|(hierarchy, path)| {
            let mut mounts = self.mounts.iter().filter(|mount| mount.hierarchies.contains(&hierarchy));
            mounts.find_map(|mount| Some((hierarchy, mount, mount.below(path)?)))
        });
        shown.into_iter().flat_map(|(hierarchy, mount, below)| {
            below.ancestors().map(move |folder| (hierarchy, mount.point.join(folder)))
        })
    }
}

/// A mount of one hierarchy of cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HierarchyMount {
    hierarchies: Vec<Hierarchy>,
    /// The cgroup that is seen at the mount point.
    root: PathBuf,
    pub(super) point: PathBuf,
}

impl HierarchyMount {
    fn new(mount: mount::Mount, root: &Path) -> Option<Self> {
        let hierarchies: Vec<Hierarchy> = match mount.kind.as_str() {
            "cgroup2" => vec![Hierarchy::Unified],
            _ => {
                let controllers = [Controller::Pids, Controller::Memory].into_iter();
                let has = |it: &Controller| mount.options.contains_key(it.name());
                controllers.filter(has).map(Hierarchy::Legacy).collect()
            }
        };
        let point = root.join(mount.point.strip_prefix("/").ok()?);
        (!hierarchies.is_empty()).then_some(Self { hierarchies, root: mount.root, point })
    }

    /// The path of a cgroup relative to the mount point; `None` where it is not below it. Both `path` and the root of
    /// the mount start at the root of the agent's cgroup namespace, and lead out of it by `/..`.
    fn below<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let below = path.strip_prefix(&self.root).ok()?;
        below.components().all(|part| matches!(part, Component::Normal(_))).then_some(below)
    }
}
