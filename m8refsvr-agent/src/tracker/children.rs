//! Tracked parents of tracked children: the I/O that the kernel adds to a parent must not count twice.

use m8refsvr_common::{accounting::IoAccounting, record::ProcessState};

use crate::tracker::Tracker;
use crate::{
    bpf::SlotProcess,
    proc::{stat::Stat, status::ignores_child_exits},
    tracker::{idle::Activity, storage_io::IoBaseline},
};

impl Tracker {
    /// A process has a tracked child. If it is tracked itself, its I/O is read without that of its children from now
    /// on.
    pub(super) fn has_child(&mut self, parent: Option<u32>) {
        let Some(tracked) = parent.and_then(|parent| self.ids.get(&parent)) else { return };
        let Some(tracked) = self.tracked.get_mut(tracked).filter(|tracked| tracked.io_baseline.is_none())
        else {
            return;
        };
        let (Some(kernel), Ok(handle)) = (&self.kernel, &tracked.slot) else { return };
        if !kernel.follows_processes() || !kernel.kept_accounting().read_bytes {
            return;
        }
        let proc = &self.proc;
        let is_there = |child: &SlotProcess| {
            let process = proc.process(child.tgid.0).ok();
            let stat = process.and_then(|process| Stat::read(&process, &mut Vec::new()).ok());
            stat.is_some_and(|stat| stat.start_ticks == child.start_ticks)
        };
        let process = proc.process(tracked.identity.pid).ok();
        let (patience, buffer) = (&mut self.patience, &mut self.buffer);
        // With SIGCHLD ignored the kernel reaps the children itself, and adds nothing to the parent.
        let waits =
            process.as_ref().is_none_or(|process| !ignores_child_exits(process, buffer).unwrap_or(false));
        let of_children = || {
            if !waits {
                return Some(IoAccounting::default());
            }
            let of_slots = kernel.tracked_slots().into_iter().filter_map(|slot| kernel.tracked_process(slot));
            let mut waited_for =
                of_slots.filter(|child| child.parent.map(|parent| parent.0) == parent && !is_there(child));
            waited_for.try_fold(IoAccounting::default(), |sum, child| match child.state {
                ProcessState::Exited => Some(sum.plus(child.exit.accounting_at_end.io())),
                ProcessState::Living => None,
                _ => Some(sum),
            })
        };
        let baseline = process
            .and_then(|process| IoBaseline::of(&process, kernel, handle, of_children, patience, buffer));
        // It may have exited by now. Where a BPF program gave it the slot, the exit record has the I/O of all its
        // threads.
        tracked.io_baseline = baseline.or_else(|| kernel.is_whole(handle).then(IoBaseline::default));
        // What was read before includes the children.
        tracked.activity = Activity::default();
        tracked.is_stale = true;
    }
}
