//! The maps of the kernel programs, as this process sees them.

use std::{io, os::fd::BorrowedFd};

use m8refsvr_common::{
    record::{Counts, CountsRecord, DropsRecord, ExitRecord, ProcessRecord, SettingsRecord},
    slot::{UNDECIDED, counters_of, first_counters, has_exiting, place_in, slot_of, undecided_in},
};

use crate::sys::mapped_array::{FEW, Record, SharedArray};

/// Names of the maps, in the object and under the BPF file system.
pub(crate) const NAMES: [&str; 6] = ["SLOTS", "COUNTERS", "PROCESSES", "EXITS", "DROPS", "SETTINGS"];

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
    counters: SharedArray<CountsRecord>,
    targets: SharedArray<ProcessRecord>,
    lives: SharedArray<ExitRecord>,
    losses: SharedArray<DropsRecord>,
    settings: SharedArray<SettingsRecord>,
}

impl Maps {
    /// Maps the arrays, in the order of [`NAMES`].
    pub(crate) fn new(
        [slots, counters, targets, lives, losses, settings]: [Source<'_>; NAMES.len()],
        writable: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            // The longest by far, which is needed where a process begins to match or is over.
            slots: array(&slots, writable, FEW)?,
            // Of those that are held, each collection reads all.
            counters: array(&counters, false, usize::MAX)?,
            targets: array(&targets, writable, usize::MAX)?,
            lives: array(&lives, writable, FEW)?,
            losses: array(&losses, writable, 1)?,
            settings: array(&settings, writable, 1)?,
        })
    }

    /// Gives the process a slot in the kernel's eyes, in place of `old`, which may be 0. An error when it has another,
    /// or when its id is beyond the table.
    pub(crate) fn give(&self, tgid: u32, old: u32, slot: u32) -> Result<(), NotGiven> {
        let (old, new) = (self.place(old), self.place(slot));
        let outcome = self.slots.change(tgid, |element| {
            let place = place_in(element);
            // Two programs that changed it at once may have left a place that is no slot's.
            let is_free = place == old || slot_of(place, self.cpus()).is_none();
            // What else is noted of it stays.
            is_free.then(|| element - u64::from(place) + u64::from(new))
        });
        match outcome {
            Some(true) => Ok(()),
            Some(false) => Err(NotGiven::HasAnother),
            None => Err(NotGiven::OutOfRange),
        }
    }

    /// Takes its slot from a process, if it has this one.
    pub(crate) fn take(&self, tgid: u32, slot: u32) {
        let place = self.place(slot);
        self.slots.change(tgid, |element| (place_in(element) == place).then(|| element - u64::from(place)));
    }

    /// One decision about a process is taken.
    pub(crate) fn decided(&self, tgid: u32) {
        self.slots.change(tgid, |element| (undecided_in(element) > 0).then(|| element - UNDECIDED));
    }

    fn place(&self, slot: u32) -> u32 {
        if slot == 0 { 0 } else { first_counters(slot, self.cpus()) }
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

    /// How many slots there are.
    pub(crate) fn capacity(&self) -> u32 {
        self.targets.len()
    }

    /// CPUs for which there are counters.
    pub(crate) fn cpus(&self) -> u32 {
        // The first row is nobody's.
        self.counters.len() / self.targets.len().saturating_add(1)
    }

    /// Who holds a slot.
    pub(crate) fn target(&self, slot: u32) -> ProcessRecord {
        slot.checked_sub(1).and_then(|index| self.targets.load(index)).unwrap_or_default()
    }

    /// Writes down who holds a slot.
    pub(crate) fn set_target(&self, slot: u32, target: &ProcessRecord) {
        if let Some(index) = slot.checked_sub(1) {
            self.targets.store(index, target);
        }
    }

    /// Corrects the offset of who holds a slot.
    pub(crate) fn set_offset(&self, slot: u32, offset: &Counts) {
        let now = self.target(slot).offset;
        if let Some(index) = slot.checked_sub(1) {
            self.targets
                .add(index, &ProcessRecord { offset: offset.minus(&now), ..ProcessRecord::default() });
        }
    }

    /// Beginning and end of who holds a slot.
    pub(crate) fn life(&self, slot: u32) -> ExitRecord {
        slot.checked_sub(1).and_then(|index| self.lives.load(index)).unwrap_or_default()
    }

    /// Forgets beginning and end of who held a slot.
    pub(crate) fn clear_life(&self, slot: u32) {
        if let Some(index) = slot.checked_sub(1) {
            self.lives.store(index, &ExitRecord::default());
        }
    }

    /// How many threads of a process are exiting.
    pub(crate) fn has_exiting(&self, tgid: u32) -> bool {
        self.slots.load(tgid).is_some_and(has_exiting)
    }

    /// Whether something of processes could not be mapped since [`Self::were_short`] was asked, for want of memory: what
    /// was read since then may be 0 in place of what it is, and what was written may not be.
    pub(crate) fn are_short(&self) -> bool {
        let Self { slots, counters, targets, lives, .. } = self;
        slots.is_short() || counters.is_short() || targets.is_short() || lives.is_short()
    }

    /// The same, and forgets it.
    pub(crate) fn were_short(&self) -> bool {
        let Self { slots, counters, targets, lives, .. } = self;
        [slots.was_short(), counters.was_short(), targets.was_short(), lives.was_short()].contains(&true)
    }

    /// What could not be counted.
    pub(crate) fn losses(&self) -> DropsRecord {
        self.losses.load(0).unwrap_or_default()
    }

    /// Counts what could not be counted. The programs may do the same at this moment.
    pub(crate) fn lose(&self, losses: &DropsRecord) {
        self.losses.add(0, losses);
    }

    /// The layout of the records, read from the map of settings alone.
    pub(crate) fn layout(settings: &Source<'_>) -> io::Result<u64> {
        // The first word of the record, whatever follows it.
        let words = u32::try_from(size_of::<u64>()).unwrap_or_default();
        let settings = Source { value_size: settings.value_size.min(words), max_entries: 1, ..*settings };
        array::<u64>(&settings, false, 1).map(|words| words.load(0).unwrap_or_default())
    }

    /// What the maps were made with.
    pub(crate) fn settings(&self) -> SettingsRecord {
        self.settings.load(0).unwrap_or_default()
    }

    /// Writes down what the maps were made with.
    pub(crate) fn set_settings(&self, settings: &SettingsRecord) {
        self.settings.store(0, settings);
    }
}

/// Why a process was not given a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotGiven {
    /// It has another one.
    HasAnother,
    /// Its id is beyond the table.
    OutOfRange,
}

fn array<T: Record>(source: &Source<'_>, writable: bool, most: usize) -> io::Result<SharedArray<T>> {
    if source.value_size as usize != size_of::<T>() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the map's values have {} bytes, not {}", source.value_size, size_of::<T>()),
        ));
    }
    SharedArray::map(source.fd, source.max_entries, writable, most)
}
