//! The kernel's side: programs that count, the processes they count for, and what they counted. The only room
//! that knows aya, BPF and unsafe code; it knows neither how a process is selected nor where its figures go.

use std::{io, path::PathBuf};

use m8refsvr_common::{
    record::{EventKind, EventRecord, ExitRecord, ProcessState, Variant},
    slot::{DEFAULT_CAPACITY, MAX_CAPACITY},
};
use thiserror::Error;

#[cfg(feature = "ebpf")]
mod baseline;
pub mod btf;
#[cfg(not(feature = "ebpf"))]
mod disabled;
#[cfg(feature = "ebpf")]
mod enabled;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "the attached programs alone need all of it"))]
mod layout;
#[cfg(feature = "ebpf")]
mod loader;
#[cfg(feature = "ebpf")]
mod maps;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "the attached programs alone need all of it"))]
pub(crate) mod permissions;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "the attached programs alone need all of it"))]
pub mod pins;
mod snapshot;
pub mod tracefs;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "the attached programs alone need all of it"))]
mod variants;

#[cfg(not(feature = "ebpf"))]
use disabled as programs;
#[cfg(feature = "ebpf")]
use enabled as programs;

pub use programs::{Kernel, Watch, snapshot_of};
pub use snapshot::{OverSlot, Slot, Snapshot};
pub use variants::{BlockForm, SwitchForm};

/// Where the BPF file system is mounted by convention.
pub const BPF_FS: &str = "/sys/fs/bpf";

/// What it means that the kernel can pass over a program, and what to do about it.
pub const PASSED_OVER: &str = "this kernel passes over a program while another thread is preempted in it, so that single \
    requests of block I/O, or the end of a process, can be missing: give the agent classic tracepoints, by a tracefs that \
    it can read (mount -t tracefs tracefs /sys/kernel/tracing) and, on Debian and Ubuntu, by `sysctl \
    kernel.perf_event_paranoid=2`";

/// How to attach.
#[derive(Clone, Debug)]
pub struct Options {
    /// Processes that can be watched at once, from 1 to 65535.
    pub capacity: u32,
    /// Where to pin the maps; `None` not to.
    pub bpf_fs: Option<PathBuf>,
    /// Ways to count context switches, to be tried in this order; none to leave them out.
    pub switch_forms: Vec<SwitchForm>,
    /// Ways to count block I/O, to be tried in this order; none to leave it out.
    pub block_forms: Vec<BlockForm>,
    /// Whether to follow processes as they begin and end.
    pub lifecycle: bool,
    /// The /proc from which process ids come.
    pub proc_root: PathBuf,
    /// Names that are looked for in the kernel as processes start.
    pub comms: Comms,
    /// The eBPF object to load; `None` for the one that is built in.
    pub object: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            capacity: DEFAULT_CAPACITY,
            bpf_fs: Some(BPF_FS.into()),
            switch_forms: SwitchForm::CHEAPEST_FIRST.into(),
            block_forms: BlockForm::CHEAPEST_FIRST.into(),
            lifecycle: true,
            proc_root: "/proc".into(),
            comms: Comms::default(),
            object: None,
        }
    }
}

/// What the kernel can tell of whether a process matches.
#[derive(Clone, Debug, Default)]
pub struct Comms {
    /// A process in whose `comm` one of these is matches, whatever the case of its letters.
    pub names: Vec<String>,
    /// Whether a process may match by its `comm` in another way too.
    pub others: bool,
}

/// In which form each source is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forms {
    /// Context switches.
    pub context_switches: Variant,
    /// Block I/O.
    pub block_io: Variant,
    /// Beginning and end of processes.
    pub lifecycle: Variant,
}

/// What the programs told.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// In its order.
    pub happened: Vec<Event>,
    /// Whether something was not told for want of room.
    pub is_incomplete: bool,
}

/// Something that the programs told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process got this slot, or executes another program and keeps it.
    Tracked(u32),
    /// The holder of this slot is over.
    Ended(u32),
    /// Whether this process matches is to be decided.
    Undecided(u32),
    /// The same, of one that found no free slot, which is counted already.
    NoFreeSlot(u32),
}

impl Event {
    /// What the bytes of an event say; `None` for what no program writes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, subject) = bytes.split_at_checked(size_of::<u32>())?;
        let event = EventRecord {
            kind: u32::from_ne_bytes(kind.try_into().ok()?),
            subject: u32::from_ne_bytes(subject.try_into().ok()?),
        };
        Some(match EventKind::from_word(event.kind)? {
            EventKind::Tracked => Self::Tracked(event.subject),
            EventKind::Ended => Self::Ended(event.subject),
            EventKind::Undecided => Self::Undecided(event.subject),
            EventKind::NoFreeSlot => Self::NoFreeSlot(event.subject),
        })
    }
}

/// Who holds a slot, as the programs or the agent noted it.
#[derive(Clone, Debug)]
pub struct TrackedProcess {
    /// Process id.
    pub tgid: u32,
    /// Start in clock ticks after boot.
    pub start_ticks: u64,
    /// Where it is in its life.
    pub state: ProcessState,
    /// Its `comm` when it got the slot.
    pub comm: Vec<u8>,
    /// The process that forked it, where that had a slot.
    pub parent: Option<u32>,
    /// Its beginning and end.
    pub life: ExitRecord,
}

/// Context switches of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// A thread began to wait.
    pub voluntary: u64,
    /// A thread was preempted or yielded.
    pub involuntary: u64,
}

impl From<&m8refsvr_common::record::Counts> for Switches {
    fn from(counts: &m8refsvr_common::record::Counts) -> Self {
        Self { voluntary: counts.voluntary, involuntary: counts.involuntary }
    }
}

impl Switches {
    /// Both.
    pub fn all(self) -> u64 {
        self.voluntary.wrapping_add(self.involuntary)
    }
}

/// Why a process can't be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWatched {
    /// All slots are taken.
    NoFreeSlot,
    /// Its id is beyond the `kernel.pid_max` of the start.
    OutOfRange,
    /// It ended in the meantime, or what it had before could not be read.
    Gone,
}

/// Why the kernel's side could not start.
#[derive(Debug, Error)]
pub enum KernelError {
    /// Built without it.
    #[error("this agent was built without the feature ebpf; build it with `cargo xtask build`")]
    NotBuilt,
    /// For want of rights.
    #[error("BPF programs were refused: {advice}")]
    Refused {
        /// What is missing and how to grant it.
        advice: String,
    },
    /// Process ids mean something else here.
    #[error(
        "the agent runs in a PID namespace of its own, where process ids are not those that BPF programs see: run \
         it in the host's (hostPID: true in Kubernetes, --pid=host in Docker)"
    )]
    PidNamespace,
    /// Process ids mean something else there.
    #[error(
        "{} belongs to another PID namespace than this process, so that BPF programs see other process ids: give \
         --proc-root the /proc of the host",
        root.display()
    )]
    OtherProc {
        /// The /proc.
        root: PathBuf,
    },
    /// The kernel can't do it.
    #[error("{what}: {cause}")]
    Failed {
        /// What was tried.
        what: String,
        /// What the kernel said.
        cause: String,
    },
    /// The maps would be too large.
    #[error("a capacity of {capacity} is too much for {cpus} CPUs: give a smaller --max-tracked-processes")]
    TooMany {
        /// As set.
        capacity: u32,
        /// CPUs that could ever come online.
        cpus: u32,
    },
    /// Not what this agent was built with.
    #[error("the eBPF object does not fit this agent ({0}): build both again with `cargo xtask build`")]
    Object(String),
    /// Memory could not be mapped.
    #[error("the BPF maps can't be mapped into memory: {0}")]
    Mapping(io::Error),
    /// Sizes could not be read.
    #[error("cannot read {path}: {source}")]
    System {
        /// The file.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The agent is just starting or ending.
    #[error("agent {pid} has not all its maps pinned: it is just starting or ending")]
    NotPinned {
        /// The agent.
        pid: u32,
    },
    /// The maps are those of another version.
    #[error(
        "agent {pid} is of another version (layout {found} of its maps, {expected} here): use its own `debug dump`"
    )]
    OtherLayout {
        /// The running agent.
        pid: u32,
        /// Its layout.
        found: u64,
        /// Ours.
        expected: u64,
    },
}

/// Whether this process can read what tracefs tells of tracepoints.
pub fn can_read_tracefs() -> bool {
    tracefs::Format::read("sched", "sched_switch").is_some()
}

/// A tracepoint with a program attached to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The tracepoint.
    pub tracepoint: &'static str,
    /// The program.
    pub program: &'static str,
    /// How it is attached.
    pub form: Variant,
}

/// Whether a capacity is possible.
pub fn is_capacity(capacity: u32) -> bool {
    (1..=MAX_CAPACITY).contains(&capacity)
}
