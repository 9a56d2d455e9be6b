//! Why the BPF programs could not be loaded, or not track a process.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a process can't be tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// All slots are taken.
    NoFreeSlot,
    /// Its id is beyond the `kernel.pid_max` of the start.
    OutOfRange,
    /// It exited in the meantime, or what it had before could not be read.
    Gone,
}

/// Why the BPF programs could not be loaded or attached.
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
        /// The error of the kernel.
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
        /// The error of the system.
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
