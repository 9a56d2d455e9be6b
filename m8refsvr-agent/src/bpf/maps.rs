//! The maps of the BPF programs, as this process sees them.

use std::{io, os::fd::BorrowedFd};

use m8refsvr_common::{
    record::{Counts, CountsRecord, DropsRecord, ExitRecord, ProcessRecord, ProcessState, SettingsRecord},
    slot::{CounterOffset, Slot, SlotEntry, Tgid},
};

use crate::{
    bpf::snapshot::{EndedSlot, Snapshot, TrackedSlot},
    sys::mapped_array::{FEW, Record, SharedArray},
};

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
    slots: SharedArray<SlotEntry>,
    counters: SharedArray<CountsRecord>,
    processes: SharedArray<ProcessRecord>,
    exits: SharedArray<ExitRecord>,
    drops: SharedArray<DropsRecord>,
    settings: SharedArray<SettingsRecord>,
    /// CPUs for which there are counters.
    cpus: u32,
}

impl Maps {
    /// Maps the arrays, in the order of [`NAMES`].
    pub(crate) fn new(
        [slots, counters, processes, exits, drops, settings]: [Source<'_>; NAMES.len()],
        writable: bool,
    ) -> io::Result<Self> {
        // The first row of counters belongs to no slot.
        let cpus = counters.max_entries / processes.max_entries.saturating_add(1);
        Ok(Self {
            cpus,
            // The longest by far, and read only where a process begins to match or exits.
            slots: array(&slots, writable, FEW)?,
            // Each collection reads the records of all tracked processes.
            counters: array(&counters, false, usize::MAX)?,
            processes: array(&processes, writable, usize::MAX)?,
            exits: array(&exits, writable, FEW)?,
            drops: array(&drops, writable, 1)?,
            settings: array(&settings, writable, 1)?,
        })
    }

    /// Has the BPF programs count for a process in a slot, in place of its slot `old`. An error when it has
    /// another slot, or when its id is beyond the table.
    pub(crate) fn assign(&self, tgid: Tgid, old: Option<Slot>, slot: Slot) -> Result<(), NotAssigned> {
        let (old, new) = (self.counters_of(old), self.counters_of(Some(slot)));
        let outcome = self.slots.change(tgid.0, |entry| {
            let counters = entry.counters();
            // Two BPF programs that changed it at once may have left an offset of no slot.
            let is_free = counters == old || counters.slot(self.cpus()).is_none();
            is_free.then(|| entry.with_counters(new))
        });
        match outcome {
            Some(true) => Ok(()),
            Some(false) => Err(NotAssigned::HasAnother),
            None => Err(NotAssigned::OutOfRange),
        }
    }

    /// Takes its slot from a process, if it has this one.
    pub(crate) fn take(&self, tgid: Tgid, slot: Slot) {
        let counters = self.counters_of(Some(slot));
        self.slots.change(tgid.0, |entry| {
            (entry.counters() == counters).then(|| entry.with_counters(CounterOffset::NONE))
        });
    }

    /// One question whether a process matches is answered.
    pub(crate) fn answer(&self, tgid: Tgid) {
        self.slots.change(tgid.0, SlotEntry::with_answer);
    }

    fn counters_of(&self, slot: Option<Slot>) -> CounterOffset {
        slot.map_or(CounterOffset::NONE, |slot| CounterOffset::of(slot, self.cpus()))
    }

    /// The slot of a process; `None` when it has none.
    pub(crate) fn slot(&self, tgid: Tgid) -> Option<Slot> {
        self.slots.load(tgid.0)?.counters().slot(self.cpus())
    }

    /// Every process that has a slot.
    pub(crate) fn tracked(&self) -> impl Iterator<Item = (Tgid, Slot)> {
        (0..self.slots.len()).map(Tgid).filter_map(|tgid| Some((tgid, self.slot(tgid)?)))
    }

    /// The counts of a slot on one CPU; zeros for a slot that does not exist.
    pub(crate) fn counts(&self, slot: Slot, cpu: u32) -> Counts {
        if slot.number() > self.capacity() {
            return Counts::default();
        }
        self.counters.counts(self.counters_of(Some(slot)).of_cpu(cpu)).unwrap_or_default()
    }

    /// The counts of a slot on all CPUs.
    pub(crate) fn sum(&self, slot: Slot) -> Counts {
        (0..self.cpus()).fold(Counts::default(), |sum, cpu| sum.plus(&self.counts(slot, cpu)))
    }

    /// How many slots there are.
    pub(crate) fn capacity(&self) -> u32 {
        self.processes.len()
    }

    /// CPUs for which there are counters.
    pub(crate) fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The tracked process of a slot.
    pub(crate) fn process(&self, slot: Slot) -> ProcessRecord {
        self.processes.load(slot.index()).unwrap_or_default()
    }

    /// Writes the tracked process of a slot.
    pub(crate) fn set_process(&self, slot: Slot, process: &ProcessRecord) {
        self.processes.store(slot.index(), process);
    }

    /// Corrects the baseline of a slot's process. The rest of the record may be changed by the BPF programs meanwhile.
    pub(crate) fn set_baseline(&self, slot: Slot, baseline: &Counts) {
        let now = self.process(slot).baseline;
        let difference = ProcessRecord { baseline: baseline.minus(&now), ..ProcessRecord::default() };
        self.processes.add(slot.index(), &difference);
    }

    /// Start and end of a slot's process.
    pub(crate) fn exit(&self, slot: Slot) -> ExitRecord {
        self.exits.load(slot.index()).unwrap_or_default()
    }

    /// Forgets start and end of a slot's process.
    pub(crate) fn clear_exit(&self, slot: Slot) {
        self.exits.store(slot.index(), &ExitRecord::default());
    }

    /// Whether threads of a process are exiting.
    pub(crate) fn has_exiting(&self, tgid: Tgid) -> bool {
        self.slots.load(tgid.0).is_some_and(SlotEntry::has_exiting)
    }

    /// Whether something of processes could not be mapped since [`Self::take_unmapped`] was asked, for want of memory:
    /// what was read since then may be 0 in place of what it is, and what was written may not be.
    pub(crate) fn unmapped(&self) -> bool {
        let Self { slots, counters, processes, exits, .. } = self;
        slots.unmapped() || counters.unmapped() || processes.unmapped() || exits.unmapped()
    }

    /// The same, and forgets it.
    pub(crate) fn take_unmapped(&self) -> bool {
        let Self { slots, counters, processes, exits, .. } = self;
        let all = [
            slots.take_unmapped(),
            counters.take_unmapped(),
            processes.take_unmapped(),
            exits.take_unmapped(),
        ];
        all.contains(&true)
    }

    /// What could not be counted.
    pub(crate) fn drops(&self) -> DropsRecord {
        self.drops.load(0).unwrap_or_default()
    }

    /// Counts what could not be counted. The BPF programs may do the same at this moment.
    pub(crate) fn count_drops(&self, drops: &DropsRecord) {
        self.drops.add(0, drops);
    }

    /// The layout of the records, read from the map of settings alone.
    pub(crate) fn layout(settings: &Source<'_>) -> io::Result<u64> {
        // The first field of the record, whatever follows it.
        let first = u32::try_from(size_of::<u64>()).unwrap_or_default();
        let settings = Source { value_size: settings.value_size.min(first), max_entries: 1, ..*settings };
        array::<u64>(&settings, false, 1).map(|layouts| layouts.load(0).unwrap_or_default())
    }

    /// What the maps were made with.
    pub(crate) fn settings(&self) -> SettingsRecord {
        self.settings.load(0).unwrap_or_default()
    }

    /// Writes down what the maps were made with.
    pub(crate) fn set_settings(&self, settings: &SettingsRecord) {
        self.settings.store(0, settings);
    }

    /// All that is in the maps.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let of_process = |(tgid, slot)| TrackedSlot {
            tgid,
            slot,
            process: self.process(slot),
            cpus: (0..self.cpus()).map(|cpu| self.counts(slot, cpu)).collect(),
        };
        let ended = |slot| {
            let process = self.process(slot);
            let state = ProcessState::from_number(process.state);
            matches!(state, Some(ProcessState::Exited | ProcessState::Deselected)).then(|| EndedSlot {
                slot,
                process,
                exit: self.exit(slot),
            })
        };
        Snapshot {
            settings: self.settings(),
            tracked: self.tracked().map(of_process).collect(),
            ended: Slot::first(self.capacity()).filter_map(ended).collect(),
            drops: self.drops(),
        }
    }
}

/// Why a process did not get a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAssigned {
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
