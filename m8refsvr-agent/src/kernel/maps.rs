//! The maps of the kernel programs, as this process sees them.

use std::{io, os::fd::BorrowedFd};

use m8refsvr_common::{
    record::{Counters, Counts, Losses, Settings, Target},
    slot::{counters_of, first_counters, place_in, slot_of},
};

use super::shared::{Record, SharedArray};

/// Names of the maps, in the object and under the BPF file system.
pub(crate) const NAMES: [&str; 5] = ["SLOTS", "COUNTERS", "TARGETS", "LOSSES", "SETTINGS"];

/// One of the maps, wherever it comes from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
}

/// All maps, mapped into memory.
#[derive(Debug)]
pub(crate) struct Maps {
    slots: SharedArray<u64>,
    counters: SharedArray<Counters>,
    targets: SharedArray<Target>,
    losses: SharedArray<Losses>,
    settings: SharedArray<Settings>,
}

impl Maps {
    /// Maps the arrays, in the order of [`NAMES`].
    pub(crate) fn new(
        [slots, counters, targets, losses, settings]: [Source<'_>; 5],
        writable: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            slots: array(&slots, writable)?,
            counters: array(&counters, false)?,
            targets: array(&targets, writable)?,
            losses: array(&losses, writable)?,
            settings: array(&settings, writable)?,
        })
    }

    /// Gives the process a slot in the kernel's eyes, or with 0 takes it away; `false` when the process id is
    /// beyond the table.
    pub(crate) fn set_slot(&self, tgid: u32, slot: u32) -> bool {
        let first = if slot == 0 { 0 } else { first_counters(slot, self.cpus()) };
        self.slots.store(tgid, &first.into());
        tgid < self.slots.len()
    }

    /// The slot of a process; `None` when it has none.
    pub(crate) fn slot(&self, tgid: u32) -> Option<u32> {
        slot_of(place_in(self.slots.load(tgid)?), self.cpus())
    }

    /// Every process that has a slot.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.slots.len()).filter_map(|tgid| Some((tgid, self.slot(tgid)?)))
    }

    /// The counts of a slot on one CPU; zeros for one that does not exist.
    pub(crate) fn counts(&self, cpu: u32, slot: u32) -> Counts {
        let capacity = self.targets.len();
        if slot == 0 || slot > capacity {
            return Counts::default();
        }
        let first = first_counters(slot, self.cpus());
        self.counters.counts(counters_of(first, cpu)).unwrap_or_default()
    }

    /// The counts of a slot on all CPUs.
    pub(crate) fn sum(&self, slot: u32) -> Counts {
        (0..self.cpus()).fold(Counts::default(), |sum, cpu| sum.plus(&self.counts(cpu, slot)))
    }

    /// CPUs for which there are counters.
    pub(crate) fn cpus(&self) -> u32 {
        // The first row is nobody's.
        self.counters.len() / self.targets.len().saturating_add(1)
    }

    /// Who holds a slot.
    pub(crate) fn target(&self, slot: u32) -> Target {
        slot.checked_sub(1).and_then(|index| self.targets.load(index)).unwrap_or_default()
    }

    /// Writes down who holds a slot.
    pub(crate) fn set_target(&self, slot: u32, target: &Target) {
        if let Some(index) = slot.checked_sub(1) {
            self.targets.store(index, target);
        }
    }

    /// What could not be counted.
    pub(crate) fn losses(&self) -> Losses {
        self.losses.load(0).unwrap_or_default()
    }

    /// Writes down what could not be counted.
    pub(crate) fn set_losses(&self, losses: &Losses) {
        self.losses.store(0, losses);
    }

    /// The layout of the records, read from the map of settings alone.
    pub(crate) fn layout(settings: &Source<'_>) -> io::Result<u64> {
        // The first word of the record, whatever follows it.
        let words = u32::try_from(size_of::<u64>()).unwrap_or_default();
        let settings = Source { value_size: settings.value_size.min(words), max_entries: 1, ..*settings };
        array::<u64>(&settings, false).map(|words| words.load(0).unwrap_or_default())
    }

    /// What the maps were made with.
    pub(crate) fn settings(&self) -> Settings {
        self.settings.load(0).unwrap_or_default()
    }

    /// Writes down what the maps were made with.
    pub(crate) fn set_settings(&self, settings: &Settings) {
        self.settings.store(0, settings);
    }
}

fn array<T: Record>(source: &Source<'_>, writable: bool) -> io::Result<SharedArray<T>> {
    if source.value_size as usize != size_of::<T>() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the map's values have {} bytes, not {}", source.value_size, size_of::<T>()),
        ));
    }
    SharedArray::map(source.fd, source.max_entries, writable)
}
