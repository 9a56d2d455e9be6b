//! Taking in what the programs tell.

use std::{collections::HashSet, io, time::Duration};

use m8refsvr_common::{
    record::{Counts, ExitRecord, ProcessState},
    signal::Variant,
    slot::{Slot, Tgid},
};
use rustix::param::page_size;

use crate::tracker::{Match, Tracker, exhausted};
use crate::{
    bpf::{Event, TrackedProcess},
    model::{
        counters::{Readings, Totals},
        exit::{EndKind, Exit},
        sample::Identity,
    },
    proc::{Unreadable, identity::Names},
    sys::boot_clock::{of_ticks, since_boot},
};

impl Tracker {
    /// Takes in what the programs told.
    pub(crate) fn follow(&mut self) -> io::Result<()> {
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        let news = kernel.events();
        self.is_incomplete |= news.is_incomplete;
        let (happened, left_out) = self.latest(news.events);
        let outcome = happened.into_iter().try_for_each(|happened| match happened {
            Event::Tracked(slot) => self.began(slot),
            Event::Ended(slot) => {
                self.slot_over(slot);
                Ok(())
            }
            Event::Undecided(Tgid(pid)) => self.decide(pid, false),
            Event::NoFreeSlot(Tgid(pid)) => self.decide(pid, true),
        });
        if let Some(kernel) = &self.kernel {
            left_out.into_iter().for_each(|pid| kernel.decided(pid));
        }
        // What was not taken in is to be looked for.
        self.is_incomplete |= outcome.is_err();
        outcome
    }

    /// Leaves out that a process is to be decided about where more is told of it later: the kernel gives a process its
    /// new name shortly before it executes another program. Returns of which processes something was left out, too.
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
                later.extend(self.holder(slot).map(|holder| holder.tgid));
                true
            }
            Event::Ended(_) => true,
        });
        happened.reverse();
        (happened, left_out)
    }

    /// A process got a slot, or executes another program and keeps it.
    pub(super) fn began(&mut self, slot: Slot) -> io::Result<()> {
        let Some(holder) = self.holder(slot) else { return Ok(()) };
        let identity = holder.identity();
        let names = match self.find(identity.pid) {
            Ok(Some(found)) if found.identity == identity => Some(found),
            Err(Unreadable::Exhausted) => return Err(exhausted()),
            Ok(Some(_)) | Err(_) => None,
            // Its names do not match; if it is still what it was. One that takes a name is told of a moment before it has it,
            // and is told of again if it has lost that since.
            Ok(None) => match self.holder(slot) {
                Some(now) if now.state == ProcessState::Living && self.has_comm(identity, &now.comm) => {
                    self.reject(identity, slot);
                    return Ok(());
                }
                _ => None,
            },
        };
        self.enter(slot, &holder, names);
        Ok(())
    }

    /// Takes in the holder of a slot, under the names that were found of it, or under what the programs noted.
    fn enter(&mut self, slot: Slot, holder: &TrackedProcess, names: Option<Match>) {
        let identity = holder.identity();
        let Some(kernel) = &mut self.kernel else { return };
        if let Some(member) = self.members.get_mut(&identity) {
            if let Some(found) = names {
                member.rename(found);
            }
            if !member.watch.as_ref().is_ok_and(|watch| watch.slot() == slot) {
                let old = std::mem::replace(&mut member.watch, Ok(kernel.take_over(slot)));
                old.into_iter().for_each(|watch| kernel.release(watch));
                member.is_whole = true;
            }
            return;
        }
        let Some(found) = names.or_else(|| self.by_comm(holder)) else {
            return self.reject(identity, slot);
        };
        let Some(kernel) = &mut self.kernel else { return };
        let first = Totals::at_exit(&holder.exit.accounting_at_start.known(kernel.kept_accounting()));
        // The kernel's accounting has no block I/O: that is counted from now on.
        let block_io = (kernel.variants().block_io != Variant::None).then(Counts::default);
        let first = Some(first.with(Readings { block_io: block_io.as_ref(), ..Readings::default() }));
        let watch = Ok(kernel.take_over(slot));
        self.insert(found, first, watch, false);
        self.has_child(holder.parent.map(|parent| parent.0));
    }

    /// What the programs noted of a process, where its names can't be read any more: by its `comm`, or as its parent.
    fn by_comm(&self, holder: &TrackedProcess) -> Option<Match> {
        let names = Names { comm: holder.comm.clone(), executable: None, argv0: None };
        let of_parent = || {
            let Tgid(parent) = holder.parent?;
            let living = self.ids.get(&parent).and_then(|identity| self.members.get(identity));
            let over = || self.over.iter().rev().find(|over| over.identity.pid == parent);
            living.map(|member| member.group).or_else(|| Some(over()?.group))
        };
        let group = self.selector.select(&names).or_else(of_parent)?;
        Some(Match {
            identity: holder.identity(),
            parent: holder.parent.map(|parent| parent.0),
            group,
            name: names.shown().into(),
            executable: None,
            invocation: None,
        })
    }

    /// A process has a slot, but does not match by all that is known of it.
    fn reject(&mut self, identity: Identity, slot: Slot) {
        if self.members.contains_key(&identity) {
            let last = self.read(identity).unwrap_or_default();
            return self.finish(identity, EndKind::Deselected, last);
        }
        tracing::debug!("{} in slot {} does not match", identity.pid, slot.number());
        if let Some(kernel) = &mut self.kernel {
            let watch = kernel.take_over(slot);
            kernel.release(watch);
        }
    }

    /// The holder of a slot is over, or lost its id to another process.
    pub(super) fn slot_over(&mut self, slot: Slot) {
        let Some(holder) = self.holder(slot) else { return };
        let identity = holder.identity();
        let Some(kernel) = &self.kernel else { return };
        if holder.state == ProcessState::Living {
            // Its end was not seen; unless it holds the slot again.
            if kernel.slot(Tgid(identity.pid)) == Some(slot) {
                return;
            }
            match self.members.contains_key(&identity) {
                true => self.finish(identity, EndKind::Exited(Exit::Unknown), Totals::default()),
                false => self.reject(identity, slot),
            }
            return;
        }
        if !self.members.contains_key(&identity) {
            // It was over before its beginning was told.
            self.enter(slot, &holder, None);
        }
        let Some(kernel) = &mut self.kernel else { return };
        let member = self.members.get(&identity).and_then(|member| member.watch.as_ref().ok());
        if member.is_some_and(|watch| watch.slot() != slot) {
            // It holds another one by now.
            let watch = kernel.take_over(slot);
            return kernel.release(watch);
        }
        let last = Totals::at_exit(&holder.exit.accounting_at_end.known(kernel.kept_accounting()));
        let offset = self.members.get(&identity).and_then(|member| member.storage);
        let last = offset.map_or(last, |offset| {
            last.with(Readings { io: Some(&offset.with(holder.exit.own_io)), ..Readings::default() })
        });
        let how = match holder.state {
            ProcessState::Deselected => EndKind::Deselected,
            _ => EndKind::Exited(Exit::of_status(holder.exit.status)),
        };
        self.finish(identity, how, last);
        if let Some(over) = self.over.last_mut().filter(|over| over.identity == identity) {
            let nanoseconds = Duration::from_nanos;
            let (start, end) = (nanoseconds(holder.exit.start), nanoseconds(holder.exit.end));
            let start = if start.is_zero() { of_ticks(identity.start_ticks) } else { start };
            // Of one that was already ending when it got its slot, the end was not noted.
            let end = if end < start { since_boot() } else { end };
            over.at = self.boot.time(end);
            over.lasted = end.saturating_sub(start);
            // That of the program which it was before would stand there too.
            let ExitRecord { peak_pages, peak_pages_at_start, .. } = holder.exit;
            over.peak_bytes =
                (peak_pages > peak_pages_at_start).then(|| peak_pages.saturating_mul(page_size() as u64));
        }
    }

    /// Whether a process matches is to be decided by its names.
    fn decide(&mut self, pid: u32, is_counted: bool) -> io::Result<()> {
        match self.find(pid) {
            Ok(Some(found)) => {
                let parent = found.parent;
                self.admit(found, is_counted, true);
                self.has_child(parent);
            }
            Ok(None) => {
                if let Some(&identity) = self.ids.get(&pid)
                    && self.is_alive(identity)
                {
                    let last = self.read(identity).unwrap_or_default();
                    self.finish(identity, EndKind::Deselected, last);
                    // Until its slot was taken from it, it could come back without being told of.
                    if let Ok(Some(found)) = self.find(pid) {
                        self.admit(found, false, true);
                    }
                }
            }
            Err(Unreadable::Exhausted) => return Err(exhausted()),
            Err(_) => {}
        }
        // Only now, so that of a child that it forks meanwhile is told in any case.
        if let Some(kernel) = &self.kernel {
            kernel.decided(Tgid(pid));
        }
        Ok(())
    }
}
