//! The attached BPF programs: in which variants, and what could not be attached.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{OwnedFd, RawFd},
    path::Path,
};

use m8refsvr_common::{
    accounting::Accounting,
    record::{DropsRecord, LAYOUT, SettingsRecord},
    signal::{PerSource, Signal, Variant},
    slot::Slot,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    bpf::{
        attach::Attached,
        aya_maps::pinned_maps,
        environment::{has_own_boot_time, is_of_this_namespace, pid_max, possible_cpus},
        error::KernelError,
        hook::{Hook, SKIPPED},
        layout::Layout,
        loader::{self, Loaded, Sizes},
        maps::Maps,
        options::Options,
        permissions::Rights,
        pins::{PinError, PinnedAgent, Pins},
        queues::{EventQueue, FreeSlots},
        snapshot::Snapshot,
        variants::BlockVariant,
    },
    sys::{heap, namespace},
};

/// The attached BPF programs. Dropping it detaches them and removes the pins.
#[derive(Debug)]
pub struct Kernel {
    /// Dropped first: nobody shall find the maps of BPF programs that no longer count.
    pins: Option<Pins>,
    loaded: Loaded,
    pub(super) maps: Maps,
    variants: PerSource<Variant>,
    problems: Vec<String>,
    pin_problem: Option<PinError>,
    pub(super) free_slots: FreeSlots,
    /// How many slots the agent knows to be in use.
    pub(super) in_use: u32,
    /// Slots that were taken from living processes. A program that runs at this moment may still count in such a slot,
    /// so it is not given out before the next events are read.
    pub(super) quarantined: BTreeSet<Slot>,
    pub(super) event_queue: EventQueue,
    /// How many events were dropped when this was last asked.
    pub(super) dropped_events: u64,
    kept: Accounting<bool>,
    /// Whether a BPF program at a raw tracepoint can be preempted, and then be skipped for others.
    preempts_raw: bool,
}

impl Kernel {
    /// Loads and attaches what this kernel and this process's rights allow. An error when nothing could be
    /// attached; what could not be is in [`Self::problems`].
    pub fn attach(options: &Options) -> Result<Self, KernelError> {
        // Before Linux 5.11 maps count as locked memory. Where raising the limit is refused and needed, making
        // the maps fails and says so.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
        if !namespace::is_initial_pid() {
            return Err(KernelError::PidNamespace);
        }
        // A process of the host can look at the /proc of a container.
        if !is_of_this_namespace(&options.proc_root) {
            return Err(KernelError::OtherProc { root: options.proc_root.clone() });
        }
        let sizes = Sizes { capacity: options.capacity, cpus: possible_cpus()?, pid_max: pid_max()? };
        let layout = Layout::of_kernel();
        // aya takes in all of the kernel's BTF, which is the most that is ever in memory.
        heap::give_back();
        let object = options.object.as_deref().unwrap_or(loader::OBJECT);
        let mut loaded = Loaded::new(object, &layout, sizes, &options.comms)?;
        let maps = loaded.maps()?;
        let mut free_slots = loaded.free_slots()?;
        let event_queue = loaded.event_queue()?;
        // The lowest slot is given out first.
        Slot::first(options.capacity)
            .try_for_each(|slot| free_slots.push(slot))
            .map_err(KernelError::Mapping)?;
        let switches = loaded.attach_switches(&options.switch_variants, &layout);
        let block = loaded.attach_block(&BlockVariant::order(&options.block_variants, &layout), &layout);
        if switches.variant == Variant::None
            && block.variant == Variant::None
            && let Some(cause) = &switches.problem
        {
            let rights = Rights::of_this_process();
            if rights.is_confidential() {
                return Err(KernelError::Refused { advice: rights.advice() });
            }
            let what = "no BPF program could be attached".into();
            return Err(KernelError::Failed { what, cause: cause.clone() });
        }
        // Where switches are not counted, the end of a process would not be seen.
        let lifecycle = if switches.variant == Variant::None || !options.lifecycle {
            Attached::default()
        } else if has_own_boot_time() {
            Attached::not("the agent runs in a time namespace of its own: run it in the host's".into())
        } else {
            loaded.attach_lifecycle(&layout)
        };
        let attached = PerSource { context_switches: switches, block_io: block, lifecycle };
        let variants = PerSource::of(|signal| attached.get(signal).variant);
        let problem = |signal| {
            let problem = attached.get(signal).problem.as_ref()?;
            let what = match signal {
                Signal::ContextSwitches => "context switches can't be counted",
                Signal::BlockIo => "block I/O can't be counted",
                Signal::Lifecycle => "processes can't be followed",
            };
            Some(format!("{what} in the kernel: {problem}"))
        };
        let problems = Signal::ALL.into_iter().filter_map(problem).collect();
        maps.set_settings(&SettingsRecord {
            layout: LAYOUT,
            capacity: sizes.capacity.into(),
            cpus: sizes.cpus.into(),
            pid_max: sizes.pid_max.into(),
            variants: variants.map(|variant| variant as u64),
        });
        if layout.preempts_raw && loaded.hooks().iter().any(Hook::is_preemptible) {
            tracing::warn!("{SKIPPED}");
        }
        loaded.forward_log();
        let (pins, pin_problem) = match options.bpf_fs.as_ref().map(|bpf_fs| loaded.pin(bpf_fs)) {
            Some(Ok(pins)) => (Some(pins), None),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        Ok(Self {
            pins,
            loaded,
            maps,
            variants,
            problems,
            pin_problem,
            free_slots,
            in_use: 0,
            quarantined: BTreeSet::new(),
            event_queue,
            dropped_events: 0,
            preempts_raw: layout.preempts_raw,
            kept: layout.kept,
        })
    }

    /// How the BPF programs of each signal are attached.
    pub fn variants(&self) -> PerSource<Variant> {
        self.variants
    }

    /// What is attached to what.
    pub fn hooks(&self) -> Vec<Hook> {
        self.loaded.hooks()
    }

    /// Whether the kernel can skip BPF programs that are attached; [`SKIPPED`] says what that means.
    pub fn can_be_skipped(&self) -> bool {
        self.preempts_raw && self.hooks().iter().any(Hook::is_preemptible)
    }

    /// What could not be attached, a sentence each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Why `debug dump` will not find these maps.
    pub fn pin_problem(&self) -> Option<&PinError> {
        self.pin_problem.as_ref()
    }

    /// Where the maps are pinned.
    pub fn pinned(&self) -> Option<&Path> {
        self.pins.as_ref().map(Pins::folder)
    }

    /// Whether this thread has the rights to use the maps, whatever becomes of `kernel.unprivileged_bpf_disabled`.
    pub fn reaches_maps(&self) -> bool {
        self.loaded.reaches_maps()
    }

    /// Whether the BPF programs notify of processes as they start and end.
    pub fn follows_processes(&self) -> bool {
        self.variants.lifecycle != Variant::None
    }

    /// Which values the kernel's accounting keeps of processes; none where they are not followed.
    pub fn kept_accounting(&self) -> Accounting<bool> {
        self.kept
    }

    /// A descriptor that can be read when there are notifications.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.event_queue.descriptor()
    }

    /// Whether maps could not be mapped into memory since this was last asked: what was read since then is not to be
    /// believed.
    pub fn take_unmapped(&self) -> bool {
        self.maps.take_unmapped()
    }

    /// The attached BPF programs, with their descriptors in this process.
    pub fn programs(&self) -> Vec<(&'static str, RawFd)> {
        self.loaded.programs()
    }

    /// Slots in use, and all.
    pub fn slots(&self) -> (u64, u64) {
        (self.in_use.into(), self.maps.settings().capacity)
    }

    /// What could not be counted.
    pub fn drops(&self) -> DropsRecord {
        self.maps.drops()
    }

    /// The maps at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.maps.snapshot()
    }
}

/// The maps of another agent at this moment.
pub fn snapshot_of(agent: &PinnedAgent) -> Result<Snapshot, KernelError> {
    pinned_maps(agent).map(|maps| maps.snapshot())
}
