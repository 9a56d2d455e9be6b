//! A scan of all processes in /proc, and of all slots in the maps.

use std::{collections::HashSet, io, time::Instant};

use m8refsvr_common::record::ProcessState;

use crate::tracker::{Tracker, exhausted};
use crate::{
    model::{
        counters::Totals,
        exit::{EndKind, Exit},
        missing::MissingValues,
        sample::Identity,
    },
    proc::Unreadable,
};

/// How often it is asked for processes that have come since, at most.
const SCANS: usize = 5;

impl Tracker {
    /// Scans all processes.
    pub(super) fn scan(&mut self, follows: bool) -> io::Result<()> {
        let is_first = self.scanned.is_none();
        // What is lost from now on may be of a process that this collection has passed already.
        self.is_incomplete = false;
        let mut looked_at = HashSet::new();
        let mut outcome = self.scan_all(follows, is_first, &mut looked_at);
        // A process that was found had no slot until then, so that nobody told of the children that it forked.
        for _ in 1..SCANS {
            if !follows || !matches!(outcome, Ok(1..)) {
                break;
            }
            outcome = self.scan_all(follows, is_first, &mut looked_at);
        }
        self.is_incomplete |= outcome.is_err();
        outcome.map(|_| ())
    }

    /// Looks at those that were not looked at yet; how many match that nobody told of.
    fn scan_all(&mut self, follows: bool, is_first: bool, looked_at: &mut HashSet<u32>) -> io::Result<u64> {
        let is_again = !looked_at.is_empty();
        let mut hidden = MissingValues::default();
        let mut pids = self.proc.pids()?;
        pids.retain(|&pid| looked_at.insert(pid));
        pids.sort_unstable();
        if self.proc.hides_processes() {
            hidden.hidden_by_mount();
        }
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for pid in pids {
            match self.find(pid) {
                Ok(Some(one)) => {
                    seen.insert(one.identity);
                    found.push(one);
                }
                Ok(None) | Err(Unreadable::Gone) => {}
                Err(Unreadable::Exhausted) => return Err(exhausted()),
                Err(Unreadable::Denied | Unreadable::Unknown) => hidden.hide(),
            }
        }
        // What happened in the meantime is told already, and what was not told is found in the maps.
        if follows {
            self.follow()?;
            self.reconcile()?;
        }
        // First those that are over, so that their slots are free for those that have come.
        let unseen: Vec<Identity> =
            self.tracked.keys().filter(|identity| !seen.contains(identity)).copied().collect();
        for identity in unseen.into_iter().filter(|_| !is_again) {
            if self.is_alive(identity) {
                match self.find(identity.pid) {
                    Ok(Some(now)) if now.identity == identity => continue,
                    Ok(None) => {
                        let last = self.read(identity).unwrap_or_default();
                        self.take_final_values(identity, EndKind::Deselected, last);
                    }
                    _ => continue,
                }
            } else if follows {
                self.vanished(identity);
                continue;
            } else {
                self.take_final_values(identity, EndKind::Exited(Exit::Unknown), Totals::default());
            }
            self.discovery_missed += u64::from(follows);
        }
        let mut new = 0;
        let parents: Vec<Option<u32>> = found.iter().map(|one| one.parent).collect();
        for one in found {
            let is_new = !self.tracked.contains_key(&one.identity);
            // One that is over since is not taken in again.
            if is_new && !(follows && self.ended.iter().any(|over| over.identity == one.identity)) {
                self.discovery_missed += u64::from(follows && !is_first);
                new += 1;
                self.start_tracking(one, false, false);
            }
        }
        parents.into_iter().for_each(|parent| self.has_child(parent));
        self.scanned = Some(Instant::now());
        if !is_again {
            self.hidden = hidden;
        }
        Ok(new)
    }

    /// Finds in the maps what was not told.
    fn reconcile(&mut self) -> io::Result<()> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        for slot in kernel.tracked_slots() {
            let Some(holder) = self.holder(slot) else { continue };
            let is_known = self
                .tracked
                .get(&holder.identity())
                .is_some_and(|tracked| tracked.watch.as_ref().is_ok_and(|watch| watch.slot() == slot));
            if !is_known && holder.state == ProcessState::Living {
                self.slot_tracked(slot)?;
            }
            self.slot_ended(slot);
        }
        Ok(())
    }
}
