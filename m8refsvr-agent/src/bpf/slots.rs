//! Tracked processes and their slots: which process has one, what was counted for it, and when the slot is free again.

use m8refsvr_common::{
    accounting::IoAccounting,
    record::{Counts, DropsRecord, ProcessRecord, ProcessState},
    slot::{Slot, Tgid},
};

use crate::bpf::{
    baseline::baseline_of,
    enabled::Kernel,
    error::NoSlot,
    event::{Event, Events},
    maps::NotAssigned,
    process::{SlotProcess, Switches},
};

/// The slot of a tracked process, which is to be released.
#[derive(Debug, PartialEq, Eq)]
pub struct SlotHandle {
    tgid: Tgid,
    slot: Slot,
}

impl SlotHandle {
    /// The slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }
}

impl Kernel {
    /// The notifications since the last time.
    pub fn events(&mut self) -> Events {
        for slot in std::mem::take(&mut self.quarantined) {
            self.free(slot);
        }
        let mut events = Vec::new();
        while let Some(event) = self.event_queue.next(Event::parse) {
            events.extend(event);
        }
        let dropped = self.maps.drops().events;
        let is_incomplete = std::mem::replace(&mut self.dropped_events, dropped) != dropped;
        Events { events, is_incomplete }
    }

    /// The process of a slot; `None` where the slot is free.
    pub fn tracked_process(&self, slot: Slot) -> Option<SlotProcess> {
        if self.quarantined.contains(&slot) {
            return None;
        }
        SlotProcess::of(&self.maps.process(slot), self.maps.exit(slot))
    }

    /// All slots that are not free.
    pub fn tracked_slots(&self) -> Vec<Slot> {
        Slot::first(self.maps.capacity())
            .filter(|&slot| self.maps.process(slot).state != ProcessState::Free as u64)
            .filter(|slot| !self.quarantined.contains(slot))
            .collect()
    }

    /// The slot in which the BPF programs count for a process.
    pub fn slot(&self, tgid: Tgid) -> Option<Slot> {
        self.maps.slot(tgid)
    }

    /// Takes over a slot that a BPF program gave to a process. It is to be released like any other.
    pub fn take_over(&mut self, slot: Slot) -> SlotHandle {
        self.in_use += 1;
        SlotHandle { tgid: self.maps.process(slot).tgid().unwrap_or(Tgid(0)), slot }
    }

    /// Tells the BPF programs that one of their questions whether a process matches is answered. Until all are, they
    /// ask about its children too.
    pub fn decided(&self, tgid: Tgid) {
        self.maps.answer(tgid);
    }

    /// Counts for a process from now on, unless a BPF program does already.
    ///
    /// `before` reads the switches of its living threads, and how many threads it read. It is called until no switch
    /// fell into the reading, so that what it reads and what is counted meet without gap or overlap. Where a process
    /// switches too often for that, the reading into which the fewest fell is taken.
    pub fn track(
        &mut self,
        tgid: Tgid,
        start_ticks: u64,
        before: impl FnMut() -> Option<(Switches, usize)>,
    ) -> Result<SlotHandle, NoSlot> {
        let old = self.maps.slot(tgid);
        if let Some(old) = old
            && self.maps.process(old).start_ticks == start_ticks
        {
            return Ok(self.take_over(old));
        }
        let slot = self.free_slots.pop().ok_or(NoSlot::NoFreeSlot)?;
        let earlier = self.maps.sum(slot);
        let process = ProcessRecord {
            tgid: tgid.0.into(),
            start_ticks,
            state: ProcessState::Living as u64,
            baseline: Counts::default().minus(&earlier),
            ..ProcessRecord::default()
        };
        self.maps.set_process(slot, &process);
        if let Err(reason) = self.maps.assign(tgid, old, slot) {
            self.free(slot);
            return match reason {
                // A program was faster.
                NotAssigned::HasAnother => match self.maps.slot(tgid) {
                    Some(other) => Ok(self.take_over(other)),
                    None => Err(NoSlot::Gone),
                },
                NotAssigned::OutOfRange => {
                    self.maps.count_drops(&DropsRecord { tgid_out_of_range: 1, ..DropsRecord::default() });
                    Err(NoSlot::OutOfRange)
                }
            };
        }
        self.in_use += 1;
        let handle = SlotHandle { tgid, slot };
        let Some(switches) = baseline_of(|| self.maps.sum(slot), before) else {
            if self.maps.process(slot).state != ProcessState::Living as u64 {
                // It just exited, and the BPF programs saw it.
                return Ok(handle);
            }
            self.release(handle);
            return Err(NoSlot::Gone);
        };
        let Switches { voluntary, involuntary } = switches;
        // The state is the BPF programs' from now on.
        self.maps.set_baseline(slot, &Counts { voluntary, involuntary, ..process.baseline });
        Ok(handle)
    }

    /// Counts that a matching process found no free slot, unless a BPF program has.
    pub fn count_no_free_slot(&self) {
        self.maps.count_drops(&DropsRecord { no_free_slot: 1, ..DropsRecord::default() });
    }

    /// Totals of a tracked process.
    pub fn totals(&self, handle: &SlotHandle) -> Counts {
        self.maps.sum(handle.slot).plus(&self.maps.process(handle.slot).baseline)
    }

    /// What the kernel accounted as I/O of the threads of a tracked process that have exited since it is tracked;
    /// `None` while one is exiting.
    pub fn own_io(&self, handle: &SlotHandle) -> Option<IoAccounting> {
        // In this order: a thread that exits in between is in the values of the next call, which so differ from these.
        (!self.maps.has_exiting(handle.tgid)).then(|| self.maps.exit(handle.slot).own_io)
    }

    /// Whether a BPF program gave a process its slot, so that no exit of its threads was missed.
    pub fn is_whole(&self, handle: &SlotHandle) -> bool {
        self.maps.exit(handle.slot).start != 0
    }

    /// Takes its slot from a process, of which nothing more is to be known.
    pub fn release(&mut self, handle: SlotHandle) {
        let is_living = self.maps.process(handle.slot).state == ProcessState::Living as u64;
        // The id may already be that of another process, with a slot of its own.
        self.maps.take(handle.tgid, handle.slot);
        if self.maps.unmapped() {
            // The BPF programs may still count in it; better one slot less than two processes in one slot.
            return;
        }
        self.in_use = self.in_use.saturating_sub(1);
        if is_living {
            self.quarantined.insert(handle.slot);
        } else {
            self.free(handle.slot);
        }
    }

    /// Gives a slot free in which no BPF program counts any more.
    fn free(&mut self, slot: Slot) {
        // Its next process begins with what is in the counters.
        let baseline = Counts::default().minus(&self.maps.sum(slot));
        self.maps.clear_exit(slot);
        self.maps.set_process(slot, &ProcessRecord { baseline, ..ProcessRecord::default() });
        if self.maps.unmapped() {
            return;
        }
        if let Err(error) = self.free_slots.push(slot) {
            tracing::error!("slot {} can't be used again: {error}", slot.number());
        }
    }
}
