//! One process: whether it matches, its counters at this moment, and its slot.

use m8refsvr_common::{
    record::Counts,
    signal::{PerSource, Variant},
    slot::Tgid,
};

use crate::tracker::{Match, Tracker};
use crate::{
    bpf::{NoSlot, SlotHandle, Switches},
    model::{
        counters::{Readings, Totals},
        identity::Identity,
    },
    proc::{
        Process, Unreadable,
        identity::ProgramFiles,
        process_attributes::AttributeSet,
        stat::{self, Stat},
        switches::ThreadSwitches,
    },
    tracker::storage_io,
};

/// Replaces what the BPF programs count; block I/O where they count it.
pub(super) fn with_counts(totals: &Totals, counts: &Counts, variants: PerSource<Variant>) -> Totals {
    let block_io = (variants.block_io != Variant::None).then_some(counts);
    totals.with(Readings { switches: Some(&Switches::from(counts)), block_io, ..Readings::default() })
}

impl Tracker {
    /// Reads the names of a process and returns it if they match.
    pub(super) fn find(&mut self, pid: u32) -> Result<Option<Match>, Unreadable> {
        if pid == self.own_pid {
            return Ok(None);
        }
        let process = self.proc.process(pid)?;
        let stat = Stat::read(&process, &mut self.buffer)?;
        if stat.is_kernel_thread {
            return Ok(None);
        }
        // An id that was a process's may be a thread's by now.
        if stat.is_zombie() || stat::is_of_thread(&self.buffer) {
            return Err(Unreadable::Gone);
        }
        let comm = stat::comm(&self.buffer).unwrap_or_default().to_vec();
        let thread = if stat.has_no_leader() { process.living_thread(&mut self.buffer) } else { None };
        let files = ProgramFiles::read(thread.as_ref().unwrap_or(&process), &mut self.buffer);
        let names = files.names(&comm);
        let identity = Identity { pid, start_ticks: stat.start_ticks };
        let Some(group) = self.selector.select(&names) else { return Ok(None) };
        let is_described = || self.tracked.get(&identity).is_some_and(|tracked| tracked.attributes.is_some());
        let invocation = match self.attributes {
            AttributeSet::None => None,
            set if !is_described() => files.invocation(set).ok(),
            _ => None,
        };
        Ok(Some(Match {
            identity,
            parent: u32::try_from(stat.parent).ok().filter(|&parent| parent != 0),
            group,
            name: names.shown().into(),
            executable: names.executable.as_deref().map(|name| String::from_utf8_lossy(name).into()),
            invocation: invocation.map(Box::new),
        }))
    }

    pub(super) fn is_alive(&mut self, identity: Identity) -> bool {
        let stat = |process: &Process, buffer: &mut Vec<u8>| Stat::read(process, buffer).ok();
        let process = self.proc.process(identity.pid).ok();
        let stat = process.and_then(|process| stat(&process, &mut self.buffer));
        stat.is_some_and(|stat| stat.start_ticks == identity.start_ticks && !stat.is_zombie())
    }

    /// Whether a process is alive and has this `comm`.
    pub(super) fn has_comm(&mut self, identity: Identity, comm: &[u8]) -> bool {
        self.is_alive(identity) && stat::comm(&self.buffer) == Some(comm)
    }

    /// The counters of a process now, without those that the BPF programs count.
    pub(super) fn read(&mut self, identity: Identity) -> Option<Totals> {
        let process = self.proc.process(identity.pid).ok()?;
        let tracked = self.tracked.get(&identity);
        let in_kernel = self.kernel.as_ref().zip(tracked.and_then(|tracked| tracked.slot.as_ref().ok()));
        let baseline = tracked.and_then(|tracked| tracked.io_baseline);
        let io = storage_io::read(&process, baseline, in_kernel, &mut self.buffer).ok();
        let stat = Stat::read(&process, &mut self.buffer).ok()?;
        (stat.start_ticks == identity.start_ticks)
            .then(|| Totals::read(Readings { stat: Some(&stat), io: io.as_ref(), ..Readings::default() }))
    }

    /// The counters of a process now.
    pub(super) fn read_with(&mut self, identity: Identity, handle: Option<&SlotHandle>) -> Option<Totals> {
        let totals = self.read(identity)?;
        let Some((kernel, handle)) = self.kernel.as_ref().zip(handle) else { return Some(totals) };
        let variants = kernel.variants();
        if variants.context_switches == Variant::None {
            return Some(totals);
        }
        Some(with_counts(&totals, &kernel.totals(handle), variants))
    }

    /// Gives a process a slot, so that the BPF programs count for it.
    pub(super) fn count_in_kernel(&mut self, identity: Identity) -> Result<SlotHandle, NoSlot> {
        let Some(kernel) = &mut self.kernel else { return Err(NoSlot::Gone) };
        let process = self.proc.process(identity.pid).map_err(|_| NoSlot::Gone)?;
        let buffer = &mut self.buffer;
        kernel.track(Tgid(identity.pid), identity.start_ticks, || {
            let read = ThreadSwitches::read(&process, buffer).ok()?;
            Some((Switches { voluntary: read.voluntary, involuntary: read.involuntary }, read.threads))
        })
    }

    /// Gives slots to tracked processes that have none, while there are free ones. Counts each process without a slot
    /// as a drop, once.
    pub(super) fn count_more(&mut self) {
        if self.kernel.is_none() {
            return;
        }
        let without_slot = self
            .tracked
            .values()
            .filter(|tracked| matches!(tracked.slot, Err(NoSlot::NoFreeSlot | NoSlot::Gone)));
        let without_slot: Vec<Identity> = without_slot.map(|tracked| tracked.identity).collect();
        let mut is_full = false;
        for identity in without_slot {
            let handle = if is_full { Err(NoSlot::NoFreeSlot) } else { self.count_in_kernel(identity) };
            is_full = matches!(handle, Err(NoSlot::NoFreeSlot));
            let (Some(kernel), Some(tracked)) = (&self.kernel, self.tracked.get_mut(&identity)) else {
                continue;
            };
            if is_full && !std::mem::replace(&mut tracked.is_counted, true) {
                kernel.count_no_free_slot();
            }
            tracked.slot = handle;
        }
    }
}
