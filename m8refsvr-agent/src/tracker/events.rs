//! The events of the BPF programs: a process has a slot, it ended, or the agent must decide whether it matches.

use std::{collections::HashSet, io, time::Duration};

use m8refsvr_common::{
    record::{Counts, ExitRecord, ProcessState},
    signal::Variant,
    slot::{Slot, Tgid},
};
use rustix::param::page_size;

use crate::tracker::{Match, Tracker, exhausted};
use crate::{
    bpf::{Event, SlotProcess},
    model::{
        counters::{Readings, Totals},
        exit::{EndKind, Exit},
        identity::Identity,
    },
    proc::{Unreadable, identity::Names},
    sys::boot_clock::{of_ticks, since_boot},
};

impl Tracker {
    /// Follows all events that are in the ring buffer.
    pub(crate) fn follow(&mut self) -> io::Result<()> {
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        let news = kernel.events();
        self.is_incomplete |= news.is_incomplete;
        let (happened, left_out) = self.latest(news.events);
        let outcome = happened.into_iter().try_for_each(|happened| match happened {
            Event::Tracked(slot) => self.slot_tracked(slot),
            Event::Ended(slot) => {
                self.slot_ended(slot);
                Ok(())
            }
            Event::Undecided(Tgid(pid)) => self.decide(pid, false),
            Event::NoFreeSlot(Tgid(pid)) => self.decide(pid, true),
        });
        if let Some(kernel) = &self.kernel {
            left_out.into_iter().for_each(|pid| kernel.decided(pid));
        }
        // The next scan finds what was not followed.
        self.is_incomplete |= outcome.is_err();
        outcome
    }

    /// Drops `Undecided` where a later event is about the same process: exec renames a process shortly before it
    /// reports the exec itself. Also returns the processes of the dropped events.
    fn latest(&self, mut happened: Vec<Event>) -> (Vec<Event>, Vec<Tgid>) {
        let mut later = HashSet::new();
        let mut left_out = Vec::new();
        happened.reverse();
        happened.retain(|&happened| match happened {
            Event::Undecided(pid) => {
                let is_latest = later.insert(pid);
                if !is_latest {
                    left_out.push(pid);
                }
                is_latest
            }
            Event::NoFreeSlot(pid) => {
                later.insert(pid);
                true
            }
            Event::Tracked(slot) => {
                later.extend(self.slot_process(slot).map(|process| process.tgid));
                true
            }
            Event::Ended(_) => true,
        });
        happened.reverse();
        (happened, left_out)
    }

    /// A process got a slot, or keeps it while it executes another program.
    pub(super) fn slot_tracked(&mut self, slot: Slot) -> io::Result<()> {
        let Some(process) = self.slot_process(slot) else { return Ok(()) };
        let identity = process.identity();
        let names = match self.find(identity.pid) {
            Ok(Some(found)) if found.identity == identity => Some(found),
            Err(Unreadable::Exhausted) => return Err(exhausted()),
            Ok(Some(_)) | Err(_) => None,
            // Its names don't match. But `task_rename` runs before the kernel sets the new name: so it is deselected
            // only if `comm` still is what the BPF program saw. Else another event follows.
            Ok(None) => match self.slot_process(slot) {
                Some(now) if now.state == ProcessState::Living && self.has_comm(identity, &now.comm) => {
                    self.refuse(identity, slot);
                    return Ok(());
                }
                _ => None,
            },
        };
        self.track_slot(slot, &process, names);
        Ok(())
    }

    /// Tracks the process of a slot, by the names that were read, or else by what the BPF program recorded.
    fn track_slot(&mut self, slot: Slot, process: &SlotProcess, names: Option<Match>) {
        let identity = process.identity();
        let Some(kernel) = &mut self.kernel else { return };
        if let Some(tracked) = self.tracked.get_mut(&identity) {
            if let Some(found) = names {
                tracked.rename(found);
            }
            if !tracked.slot.as_ref().is_ok_and(|handle| handle.slot() == slot) {
                let old = std::mem::replace(&mut tracked.slot, Ok(kernel.take_over(slot)));
                old.into_iter().for_each(|handle| kernel.release(handle));
                tracked.is_whole = true;
            }
            return;
        }
        let Some(mut found) = names.or_else(|| self.by_comm(process)) else {
            return self.refuse(identity, slot);
        };
        // In /proc it may have another parent by now, as a daemon has.
        found.parent = process.parent.map(|parent| parent.0).or(found.parent);
        let Some(kernel) = &mut self.kernel else { return };
        let first = Totals::accounted(&process.exit.accounting_at_start.known(kernel.kept_accounting()));
        // The kernel's accounting has no block I/O, which starts at 0 now.
        let block_io = (kernel.variants().block_io != Variant::None).then(Counts::default);
        let first = Some(first.with(Readings { block_io: block_io.as_ref(), ..Readings::default() }));
        let handle = Ok(kernel.take_over(slot));
        self.insert(found, first, handle, false);
        self.has_child(process.parent.map(|parent| parent.0));
    }

    /// What the BPF programs recorded of a process whose names can't be read any more: it matches by its `comm`, or is
    /// in the group of its parent.
    fn by_comm(&self, process: &SlotProcess) -> Option<Match> {
        let names = Names { comm: process.comm.clone(), ..Names::default() };
        let of_parent = || self.group_of(process.parent?.0);
        // What a parent forked is in its group, whatever the parent matches by.
        let group = of_parent().or_else(|| self.selector.select(&names))?;
        Some(Match {
            identity: process.identity(),
            parent: process.parent.map(|parent| parent.0),
            group,
            name: names.shown().into(),
            executable: None,
            invocation: None,
        })
    }

    /// The process of a slot does not match by all of its names: takes the slot back.
    fn refuse(&mut self, identity: Identity, slot: Slot) {
        if self.tracked.contains_key(&identity) {
            return self.deselect(identity);
        }
        tracing::debug!("{} in slot {} does not match", identity.pid, slot.number());
        if let Some(kernel) = &mut self.kernel {
            let handle = kernel.take_over(slot);
            kernel.release(handle);
        }
    }

    /// The process of a slot exited, was deselected, or its id belongs to another process.
    pub(super) fn slot_ended(&mut self, slot: Slot) {
        let Some(process) = self.slot_process(slot) else { return };
        let identity = process.identity();
        let Some(kernel) = &self.kernel else { return };
        if process.state == ProcessState::Living {
            // No BPF program saw its exit; unless it has the slot again.
            if kernel.slot(Tgid(identity.pid)) == Some(slot) {
                return;
            }
            match self.tracked.contains_key(&identity) {
                true => self.take_final_values(identity, EndKind::Exited(Exit::Unknown), Totals::default()),
                false => self.refuse(identity, slot),
            }
            return;
        }
        if !self.tracked.contains_key(&identity) {
            // Its exit came before the event of its start.
            self.track_slot(slot, &process, None);
        }
        let Some(kernel) = &mut self.kernel else { return };
        let tracked = self.tracked.get(&identity).and_then(|tracked| tracked.slot.as_ref().ok());
        if tracked.is_some_and(|handle| handle.slot() != slot) {
            // It has another slot by now.
            let handle = kernel.take_over(slot);
            return kernel.release(handle);
        }
        let last = Totals::accounted(&process.exit.accounting_at_end.known(kernel.kept_accounting()));
        let baseline = self.tracked.get(&identity).and_then(|tracked| tracked.io_baseline);
        let last = baseline.map_or(last, |baseline| {
            last.with(Readings { io: Some(&baseline.with(process.exit.own_io)), ..Readings::default() })
        });
        let how = match process.state {
            ProcessState::Deselected => EndKind::Deselected,
            _ => EndKind::Exited(Exit::of_status(process.exit.status)),
        };
        self.take_final_values(identity, how, last);
        if let Some(ended) = self.ended.last_mut().filter(|end| end.identity == identity) {
            let nanoseconds = Duration::from_nanos;
            let (start, end) = (nanoseconds(process.exit.start), nanoseconds(process.exit.end));
            let start = if start.is_zero() { of_ticks(identity.start_ticks) } else { start };
            // The time of the exit is missing where it was exiting when it got the slot.
            let end = if end < start { since_boot() } else { end };
            ended.at = self.boot.time(end);
            ended.lasted = end.saturating_sub(start);
            // The peak includes that of the program before exec.
            let ExitRecord { peak_pages, peak_pages_at_start, .. } = process.exit;
            ended.peak_bytes =
                (peak_pages > peak_pages_at_start).then(|| peak_pages.saturating_mul(page_size() as u64));
        }
    }

    /// A tracked process no longer matches, and lives.
    pub(super) fn deselect(&mut self, identity: Identity) {
        let last = self.read(identity).unwrap_or_default();
        self.take_final_values(identity, EndKind::Deselected, last);
    }

    /// Decides by its names whether a process matches.
    fn decide(&mut self, pid: u32, is_counted: bool) -> io::Result<()> {
        match self.find(pid) {
            Ok(Some(found)) => {
                let parent = found.parent;
                self.start_tracking(found, is_counted, true);
                self.has_child(parent);
            }
            Ok(None) => {
                if let Some(&identity) = self.ids.get(&pid)
                    && self.is_alive(identity)
                {
                    self.deselect(identity);
                    // While it had its slot, it could match again without an event.
                    if let Ok(Some(found)) = self.find(pid) {
                        self.start_tracking(found, false, true);
                    }
                }
            }
            Err(Unreadable::Exhausted) => return Err(exhausted()),
            Err(_) => {}
        }
        // Only now: until then the BPF programs also report its children.
        if let Some(kernel) = &self.kernel {
            kernel.decided(Tgid(pid));
        }
        Ok(())
    }
}
