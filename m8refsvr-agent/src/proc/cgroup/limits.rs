//! The limits that cgroups set to the processes in them, read once per collection for each cgroup.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{
    controller::{Controller, Hierarchy},
    membership::Membership,
    mounts::Hierarchies,
};
use crate::proc::{limits::ratio, process::Process, text::number, unreadable::Unreadable};

/// Bytes of a file of a cgroup that are read: more than any number has.
const VALUE_LIMIT: usize = 32;
/// From here on a value of `memory.limit_in_bytes` means no limit. Version 1 shows `PAGE_COUNTER_MAX` pages then
/// (`include/linux/page_counter.h`): 2^63 bytes less up to a page, whose size differs between machines.
const NO_MEMORY_LIMIT: u64 = 1 << 62;

/// The limits of a process by its cgroups and all above them. `None` means that the controller is off, that there is no
/// limit, or that the cgroup can't be seen: in a container, nothing above its own cgroup can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Of the cgroups with a limit of threads, the one with the highest ratio of use.
    pub pids: Option<Pids>,
    /// The smallest limit of memory, bytes. A hierarchy of version 1 is taken to count its descendants
    /// (`memory.use_hierarchy`). Before Linux 5.11 that could be switched off, which systemd does not do.
    pub memory_bytes: Option<u64>,
}

/// Threads of a cgroup and those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pids {
    /// `pids.current`: how many there are.
    pub current: u64,
    /// `pids.max`: how many there may be.
    pub max: u64,
}

impl Pids {
    /// The used part of the limit, by [`ratio`].
    pub fn ratio(&self) -> f64 {
        ratio(self.current, self.max)
    }

    fn read(folder: &Path) -> Option<Self> {
        let max = read_number(&folder.join("pids.max"))?;
        Some(Self { current: read_number(&folder.join("pids.current"))?, max })
    }
}

/// Reads limits of cgroups: each file once per collection, however many processes are in the cgroup or below it.
#[derive(Debug)]
pub struct Cgroups {
    pub(super) hierarchies: Hierarchies,
    limits: HashMap<Membership, CgroupLimits>,
    /// By the folder of the cgroup, as `memory` is.
    pub(super) pids: HashMap<PathBuf, Option<Pids>>,
    pub(super) memory: HashMap<PathBuf, Option<u64>>,
}

impl Cgroups {
    /// Nothing is read yet.
    pub fn new(hierarchies: Hierarchies) -> Self {
        Self { hierarchies, limits: HashMap::new(), pids: HashMap::new(), memory: HashMap::new() }
    }

    /// Forgets what the previous collection read, and with it cgroups that were removed.
    pub fn begin_collection(&mut self) {
        // `clear` would keep the capacity of the largest collection for ever.
        self.limits = HashMap::new();
        self.pids = HashMap::new();
        self.memory = HashMap::new();
    }

    /// Reads in which cgroups a process is, as [`Membership::read`]. All errors are those of the process's file.
    pub fn membership(&self, process: &Process, buffer: &mut Vec<u8>) -> Result<Membership, Unreadable> {
        // A kernel without cgroups has no such file. Its absence would look as if the process had exited.
        if self.hierarchies.mounts.is_empty() {
            return Ok(Membership::default());
        }
        let membership = Membership::read(process, buffer)?;
        let shared = self.limits.get_key_value(&membership).map(|(shared, _)| shared.clone());
        Ok(shared.unwrap_or(membership))
    }

    /// The limits of the processes in these cgroups.
    pub fn limits(&mut self, membership: &Membership) -> CgroupLimits {
        let Self { hierarchies, limits, pids, memory } = self;
        if let Some(limits) = limits.get(membership) {
            return *limits;
        }
        let folders = |controller| hierarchies.folders(membership, controller);
        let pids = folders(Controller::Pids)
            .filter_map(|(_, folder)| *pids.entry(folder).or_insert_with_key(|folder| Pids::read(folder)));
        let memory = folders(Controller::Memory).filter_map(|(hierarchy, folder)| {
            *memory.entry(folder).or_insert_with_key(|folder| memory_limit(hierarchy, folder))
        });
        let of_these = CgroupLimits {
            pids: pids.max_by(|one, other| one.ratio().total_cmp(&other.ratio())),
            memory_bytes: memory.min(),
        };
        limits.insert(membership.clone(), of_these);
        of_these
    }
}

/// The memory limit of one cgroup, bytes.
fn memory_limit(hierarchy: Hierarchy, folder: &Path) -> Option<u64> {
    let file = match hierarchy {
        Hierarchy::Unified => "memory.max",
        Hierarchy::Legacy(_) => "memory.limit_in_bytes",
    };
    read_number(&folder.join(file)).filter(|&limit| limit < NO_MEMORY_LIMIT)
}

/// The number in a file; `None` for `max`, which is no limit.
fn read_number(file: &Path) -> Option<u64> {
    let mut text = [0; VALUE_LIMIT];
    let length = File::open(file).ok()?.read(&mut text).ok()?;
    // Without its newline the number was cut off.
    number(text.get(..length)?.strip_suffix(b"\n")?)
}
