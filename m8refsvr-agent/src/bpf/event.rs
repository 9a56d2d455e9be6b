//! What the BPF programs notify the agent of.

use m8refsvr_common::{
    record::{EventKind, EventRecord},
    slot::{Slot, Tgid},
};

/// Notifications since the last time.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// In the order in which they were written.
    pub events: Vec<Event>,
    /// Whether the ring buffer had no room for some.
    pub is_incomplete: bool,
}

/// A notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process got this slot, or executes another program and keeps it.
    Tracked(Slot),
    /// The process of this slot exited, was deselected, or lost its id to another process.
    Ended(Slot),
    /// The agent has to decide whether this process matches.
    Undecided(Tgid),
    /// The same of one that found no free slot, which is counted already.
    NoFreeSlot(Tgid),
}

impl Event {
    /// From the bytes of an [`EventRecord`]; `None` for what no BPF program writes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, subject) = bytes.split_at_checked(size_of::<u32>())?;
        let event = EventRecord {
            kind: u32::from_ne_bytes(kind.try_into().ok()?),
            subject: u32::from_ne_bytes(subject.try_into().ok()?),
        };
        Some(match EventKind::from_number(event.kind)? {
            EventKind::Tracked => Self::Tracked(Slot::new(event.subject)?),
            EventKind::Ended => Self::Ended(Slot::new(event.subject)?),
            EventKind::Undecided => Self::Undecided(Tgid(event.subject)),
            EventKind::NoFreeSlot => Self::NoFreeSlot(Tgid(event.subject)),
        })
    }
}
