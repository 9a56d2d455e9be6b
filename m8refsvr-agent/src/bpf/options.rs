//! How the BPF programs are to be attached.

use std::path::PathBuf;

use m8refsvr_common::slot::{DEFAULT_CAPACITY, MAX_CAPACITY};

use crate::bpf::variants::{BlockVariant, SwitchVariant};

/// Where the BPF file system is mounted by convention.
pub const BPF_FS: &str = "/sys/fs/bpf";

/// How to attach.
#[derive(Clone, Debug)]
pub struct Options {
    /// Processes that can be tracked at once, from 1 to 65535.
    pub capacity: u32,
    /// Where to pin the maps; `None` not to.
    pub bpf_fs: Option<PathBuf>,
    /// Variants in which context switches are counted, tried in this order; empty not to count them.
    pub switch_variants: Vec<SwitchVariant>,
    /// Variants in which block I/O is counted, tried in this order; empty not to count it.
    pub block_variants: Vec<BlockVariant>,
    /// Whether to follow processes as they start and end.
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
            switch_variants: SwitchVariant::CHEAPEST_FIRST.into(),
            block_variants: BlockVariant::CHEAPEST_FIRST.into(),
            lifecycle: true,
            proc_root: "/proc".into(),
            comms: Comms::default(),
            object: None,
        }
    }
}

/// What the BPF programs compare with the `comm` of a process.
#[derive(Clone, Debug, Default)]
pub struct Comms {
    /// A process in whose `comm` one of these is matches, whatever the case of its letters.
    pub names: Vec<String>,
    /// Whether a process may match by its `comm` in another way too.
    pub others: bool,
}

/// Whether a capacity is possible.
pub fn is_capacity(capacity: u32) -> bool {
    (1..=MAX_CAPACITY).contains(&capacity)
}
