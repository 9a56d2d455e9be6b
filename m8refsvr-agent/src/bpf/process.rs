//! A tracked process, as the maps have it.

use m8refsvr_common::{
    comm,
    record::{Counts, ExitRecord, ProcessRecord, ProcessState},
    slot::Tgid,
};

/// The process of a slot.
#[derive(Clone, Debug)]
pub struct SlotProcess {
    /// In the initial PID namespace.
    pub tgid: Tgid,
    /// Start in clock ticks after boot.
    pub start_ticks: u64,
    /// Whether it is alive.
    pub state: ProcessState,
    /// Its `comm` when it got the slot.
    pub comm: Vec<u8>,
    /// The process that forked it, where that was tracked.
    pub parent: Option<Tgid>,
    /// What the kernel knew of it at its start and at its end.
    pub exit: ExitRecord,
}

impl SlotProcess {
    /// From the records of a slot; `None` when the slot is free.
    pub(crate) fn of(record: &ProcessRecord, exit: ExitRecord) -> Option<Self> {
        let state = ProcessState::from_number(record.state).filter(|&state| state != ProcessState::Free)?;
        let (bytes, length) = comm::bytes(record.comm);
        Some(Self {
            tgid: record.tgid()?,
            start_ticks: record.start_ticks,
            state,
            comm: bytes[..length].to_vec(),
            parent: record.parent(),
            exit,
        })
    }
}

/// Context switches of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// A thread began to wait.
    pub voluntary: u64,
    /// A thread was preempted or yielded.
    pub involuntary: u64,
}

impl From<&Counts> for Switches {
    fn from(counts: &Counts) -> Self {
        Self { voluntary: counts.voluntary, involuntary: counts.involuntary }
    }
}

impl Switches {
    /// Both.
    pub fn all(self) -> u64 {
        self.voluntary.wrapping_add(self.involuntary)
    }
}
