//! The maps that are queues: notifications from the BPF programs, and free slots.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::maps::{MapData, Queue, RingBuf};
use m8refsvr_common::slot::Slot;

use crate::bpf::aya_error::with_causes;

/// Notifications from the BPF programs.
pub(crate) struct EventQueue(pub(super) RingBuf<MapData>);

impl EventQueue {
    /// The next record, given to `take`; `None` when all were taken.
    pub(crate) fn next<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.0.next().map(|record| take(&record))
    }

    /// A descriptor that can be read when there is something.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

impl std::fmt::Debug for EventQueue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("EventQueue").field(&self.0.as_raw_fd()).finish()
    }
}

/// The free slots: the BPF programs and the agent take them from here.
pub(crate) struct FreeSlots(pub(super) Queue<MapData, u32>);

impl std::fmt::Debug for FreeSlots {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("FreeSlots").finish_non_exhaustive()
    }
}

impl FreeSlots {
    /// Takes one; `None` where there is none.
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        // The only other cause of an error would be a map that is none.
        self.0.pop(0).ok().and_then(Slot::new)
    }

    /// Puts one back, behind all others. There is room for all that there are.
    pub(crate) fn push(&mut self, slot: Slot) -> io::Result<()> {
        self.0.push(slot.number(), 0).map_err(|error| io::Error::other(with_causes(&error)))
    }
}
