//! A scan of all processes in /proc, and of all slots in the maps.

use std::{collections::HashSet, io, time::Instant};

use m8refsvr_common::record::ProcessState;

use crate::tracker::{Tracker, exhausted};
use crate::{
    model::{
        counters::Totals,
        exit::{EndKind, Exit},
        identity::Identity,
        missing::MissingValues,
    },
    proc::Unreadable,
};

/// The most passes of one scan: each finds the processes that started during the one before.
const SCANS: usize = 5;

impl Tracker {
    /// Scans all processes.
    pub(super) fn scan(&mut self, follows: bool) -> io::Result<()> {
        let is_first = self.scanned.is_none();
        // An event that is dropped from now on may be about a process that this scan has passed already.
        self.is_incomplete = false;
        let mut seen_pids = HashSet::new();
        let mut outcome = self.scan_all(follows, is_first, &mut seen_pids);
        // A process that was found had no slot until then, so that no event reported its children.
        for _ in 1..SCANS {
            if !follows || !matches!(outcome, Ok(1..)) {
                break;
            }
            outcome = self.scan_all(follows, is_first, &mut seen_pids);
        }
        self.is_incomplete |= outcome.is_err();
        outcome.map(|_| ())
    }

    /// One pass over the processes that are not in `seen_pids`. Returns how many new ones match.
    fn scan_all(&mut self, follows: bool, is_first: bool, seen_pids: &mut HashSet<u32>) -> io::Result<u64> {
        let is_again = !seen_pids.is_empty();
        let mut hidden = MissingValues::default();
        let mut pids = self.proc.pids()?;
        pids.retain(|&pid| seen_pids.insert(pid));
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
        // The events have what happened in the meantime, and the maps have what no event reported.
        if follows {
            self.follow()?;
            self.reconcile()?;
        }
        // Ended processes first, so that their slots are free for new ones.
        let unseen: Vec<Identity> =
            self.tracked.keys().filter(|identity| !seen.contains(identity)).copied().collect();
        for identity in unseen.into_iter().filter(|_| !is_again) {
            if self.is_alive(identity) {
                match self.find(identity.pid) {
                    Ok(Some(now)) if now.identity == identity => continue,
                    Ok(None) => self.deselect(identity),
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
        let mut inserted = Vec::new();
        for one in found {
            if let Some(tracked) = self.tracked.get(&one.identity) {
                // No event reported it, or one did after these names were read.
                if tracked.group != one.group || tracked.name != one.name {
                    self.read_names_again(one.identity);
                }
                continue;
            }
            // A process that ended since is not tracked again.
            if !(follows && self.ended.iter().any(|end| end.identity == one.identity)) {
                self.discovery_missed += u64::from(follows && !is_first);
                new += 1;
                inserted.push((one.identity, one.parent));
                self.start_tracking(one, false, false);
            }
        }
        // A parent may have been found after its child.
        for (identity, parent) in inserted {
            let parent_group = parent.and_then(|parent| self.group_of(parent));
            if let Some(tracked) = self.tracked.get_mut(&identity) {
                tracked.parent_group = parent_group;
            }
        }
        parents.into_iter().for_each(|parent| self.has_child(parent));
        self.scanned = Some(Instant::now());
        if !is_again {
            self.hidden = hidden;
        }
        Ok(new)
    }

    fn read_names_again(&mut self, identity: Identity) {
        let found = self.find(identity.pid).ok().flatten().filter(|found| found.identity == identity);
        if let (Some(found), Some(tracked)) = (found, self.tracked.get_mut(&identity)) {
            tracked.rename(found);
        }
    }

    /// Finds in the maps what no event reported.
    fn reconcile(&mut self) -> io::Result<()> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        for slot in kernel.tracked_slots() {
            let Some(process) = self.slot_process(slot) else { continue };
            let is_known = self
                .tracked
                .get(&process.identity())
                .is_some_and(|tracked| tracked.slot.as_ref().is_ok_and(|handle| handle.slot() == slot));
            if !is_known && process.state == ProcessState::Living {
                self.slot_tracked(slot)?;
            }
            self.slot_ended(slot);
        }
        Ok(())
    }
}
