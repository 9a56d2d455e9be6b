//! The programs at work: who is watched, and what was counted.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{OwnedFd, RawFd},
    path::Path,
};

use m8refsvr_common::{
    accounting::{Accounting, IoAccounting},
    comm,
    record::{Counts, DropsRecord, LAYOUT, ProcessRecord, ProcessState, SettingsRecord, Variant},
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::proc::system;
use crate::{
    bpf::{
        Event, Forms, Hook, KernelError, News, NotWatched, Options, OverSlot, PASSED_OVER, Slot, Snapshot,
        Switches, TrackedProcess,
        baseline::meeting_point,
        layout::Layout,
        loader::{self, Attached, Events, FreeSlots, Loaded, Sizes},
        maps::{Maps, NotGiven},
        permissions::Rights,
        pins::{PinError, PinnedAgent, Pins},
        variants::BlockForm,
    },
    sys::{heap, namespace},
};

const PID_MAX: &str = "/proc/sys/kernel/pid_max";
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// The attached programs. Dropping it detaches them and removes the pins.
#[derive(Debug)]
pub struct Kernel {
    /// Dropped first: nobody shall find the maps of programs that count no more.
    pins: Option<Pins>,
    loaded: Loaded,
    maps: Maps,
    forms: Forms,
    problems: Vec<String>,
    pin_problem: Option<PinError>,
    free: FreeSlots,
    /// How many slots the agent knows to be held.
    held: u32,
    /// Slots that were taken from living processes, and that a program at work may just be counting in: they are nobody's.
    cooling: BTreeSet<u32>,
    events: Events,
    /// Events that were lost until the last time.
    lost: u64,
    kept: Accounting<bool>,
    /// Whether a program at a raw tracepoint can be preempted, and then be skipped for others.
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
        let sizes = Sizes { capacity: options.capacity, cpus: possible_cpus()?, pid_max: number(PID_MAX)? };
        let layout = Layout::of_kernel();
        // aya takes in all of the kernel's BTF, which is the most that is ever in memory.
        heap::give_back();
        let object = options.object.as_deref().unwrap_or(loader::OBJECT);
        let mut loaded = Loaded::new(object, &layout, sizes, &options.comms)?;
        let maps = loaded.maps()?;
        let mut free = loaded.free_slots()?;
        let events = loaded.events()?;
        // The lowest slot is given out first.
        (1..=options.capacity).try_for_each(|slot| free.push(slot)).map_err(KernelError::Mapping)?;
        let switches = loaded.attach_switches(&options.switch_forms, &layout);
        let block = loaded.attach_block(&BlockForm::order(&options.block_forms, &layout), &layout);
        if let (
            Attached { form: Variant::None, problem: Some(first) },
            Attached { form: Variant::None, .. },
        ) = (&switches, &block)
        {
            let rights = Rights::of_this_process();
            if rights.is_confidential() {
                return Err(KernelError::Refused { advice: rights.advice() });
            }
            return Err(KernelError::Failed {
                what: "no BPF program could be attached".into(),
                cause: first.clone(),
            });
        }
        // Where switches are not counted, the end of a process would not be seen.
        let lifecycle = match switches.form {
            Variant::None => Attached { form: Variant::None, problem: None },
            _ if options.lifecycle && has_own_boot_time() => {
                let problem = "the agent runs in a time namespace of its own: run it in the host's";
                Attached { form: Variant::None, problem: Some(problem.into()) }
            }
            _ if options.lifecycle => loaded.attach_lifecycle(&layout),
            _ => Attached { form: Variant::None, problem: None },
        };
        let forms =
            Forms { context_switches: switches.form, block_io: block.form, lifecycle: lifecycle.form };
        let problems = [
            ("context switches can't be counted", switches.problem),
            ("block I/O can't be counted", block.problem),
            ("processes can't be followed", lifecycle.problem),
        ]
        .into_iter()
        .filter_map(|(what, problem)| Some(format!("{what} in the kernel: {}", problem?)))
        .collect();
        maps.set_settings(&SettingsRecord {
            layout: LAYOUT,
            capacity: sizes.capacity.into(),
            cpus: sizes.cpus.into(),
            pid_max: sizes.pid_max.into(),
            context_switches: forms.context_switches as u64,
            block_io: forms.block_io as u64,
            lifecycle: forms.lifecycle as u64,
        });
        if layout.preempts_raw && has_preemptible(&loaded.hooks()) {
            tracing::warn!("{PASSED_OVER}");
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
            forms,
            problems,
            pin_problem,
            free,
            held: 0,
            cooling: BTreeSet::new(),
            events,
            lost: 0,
            preempts_raw: layout.preempts_raw,
            kept: layout.kept,
        })
    }

    /// In which form each source is attached.
    pub fn forms(&self) -> Forms {
        self.forms
    }

    /// What is attached to what.
    pub fn hooks(&self) -> Vec<Hook> {
        self.loaded.hooks()
    }

    /// Whether the kernel can pass over programs that are attached; [`PASSED_OVER`] says what that means.
    pub fn can_be_passed_over(&self) -> bool {
        self.preempts_raw && has_preemptible(&self.hooks())
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

    /// Whether the programs tell of processes as they begin and end.
    pub fn follows_processes(&self) -> bool {
        self.forms.lifecycle != Variant::None
    }

    /// Which values the kernel's accounting keeps of processes; none where they are not followed.
    pub fn kept_accounting(&self) -> Accounting<bool> {
        self.kept
    }

    /// A descriptor that can be read when the programs have told something.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.events.descriptor()
    }

    /// What the programs told since the last time.
    pub fn news(&mut self) -> News {
        for slot in std::mem::take(&mut self.cooling) {
            self.free(slot);
        }
        let mut happened = Vec::new();
        while let Some(event) = self.events.next(Event::parse) {
            happened.extend(event);
        }
        let lost = self.maps.losses().events;
        let is_incomplete = std::mem::replace(&mut self.lost, lost) != lost;
        News { happened, is_incomplete }
    }

    /// Who holds a slot; `None` where nobody does.
    pub fn holder(&self, slot: u32) -> Option<TrackedProcess> {
        if self.cooling.contains(&slot) {
            return None;
        }
        let target = self.maps.target(slot);
        let state = ProcessState::from_word(target.state).filter(|&state| state != ProcessState::Free)?;
        let (bytes, length) = comm::bytes(target.comm);
        Some(TrackedProcess {
            tgid: u32::try_from(target.tgid).ok()?,
            start_ticks: target.start_ticks,
            state,
            comm: bytes[..length].to_vec(),
            parent: u32::try_from(target.parent).ok().filter(|&parent| parent != 0),
            life: self.maps.life(slot),
        })
    }

    /// All slots that somebody holds.
    pub fn holders(&self) -> Vec<u32> {
        (1..=self.maps.capacity())
            .filter(|&slot| self.maps.target(slot).state != ProcessState::Free as u64)
            .filter(|slot| !self.cooling.contains(slot))
            .collect()
    }

    /// The slot that the programs count in for a process.
    pub fn slot(&self, tgid: u32) -> Option<u32> {
        self.maps.slot(tgid)
    }

    /// Takes over a slot that a program gave to a process, which is to be released like any other.
    pub fn adopt(&mut self, slot: u32) -> Watch {
        self.held += 1;
        Watch { tgid: u32::try_from(self.maps.target(slot).tgid).unwrap_or_default(), slot }
    }

    /// One of the decisions about a process that the programs asked for is taken. Until all are, they ask about its
    /// children too.
    pub fn decided(&self, tgid: u32) {
        self.maps.decided(tgid);
    }

    /// Counts for a process from now on, unless a program does already. `before` reads the switches of its living
    /// threads, and how many threads it read; it is called until it met a moment without a switch, so that what it
    /// reads and what is counted meet without gap or overlap. Where a process switches too often for that, the fewest
    /// are left out.
    pub fn watch(
        &mut self,
        tgid: u32,
        start_ticks: u64,
        before: impl FnMut() -> Option<(Switches, usize)>,
    ) -> Result<Watch, NotWatched> {
        let given = self.maps.slot(tgid).unwrap_or_default();
        if given != 0 && self.maps.target(given).start_ticks == start_ticks {
            return Ok(self.adopt(given));
        }
        let slot = self.free.pop().ok_or(NotWatched::NoFreeSlot)?;
        let earlier = self.maps.sum(slot);
        let target = ProcessRecord {
            tgid: tgid.into(),
            start_ticks,
            state: ProcessState::Living as u64,
            offset: Counts::default().minus(&earlier),
            ..ProcessRecord::default()
        };
        self.maps.set_target(slot, &target);
        if let Err(reason) = self.maps.give(tgid, given, slot) {
            self.free(slot);
            return match reason {
                // A program was faster.
                NotGiven::HasAnother => match self.maps.slot(tgid) {
                    Some(other) => Ok(self.adopt(other)),
                    None => Err(NotWatched::Gone),
                },
                NotGiven::OutOfRange => {
                    self.maps.lose(&DropsRecord { tgid_out_of_range: 1, ..DropsRecord::default() });
                    Err(NotWatched::OutOfRange)
                }
            };
        }
        self.held += 1;
        let Some(switches) = meeting_point(|| self.maps.sum(slot), before) else {
            let watch = Watch { tgid, slot };
            if self.maps.target(slot).state != ProcessState::Living as u64 {
                // It just ended, and the programs saw it.
                return Ok(watch);
            }
            self.release(watch);
            return Err(NotWatched::Gone);
        };
        let offset =
            Counts { voluntary: switches.voluntary, involuntary: switches.involuntary, ..target.offset };
        // The state is the programs' from now on.
        self.maps.set_offset(slot, &offset);
        Ok(Watch { tgid, slot })
    }

    /// Counts that a matching process found no free slot, unless a program has.
    pub fn lose_process(&self) {
        self.maps.lose(&DropsRecord { no_free_slot: 1, ..DropsRecord::default() });
    }

    /// Totals of a watched process.
    pub fn totals(&self, watch: &Watch) -> Counts {
        self.maps.sum(watch.slot).plus(&self.maps.target(watch.slot).offset)
    }

    /// What the kernel accounted as I/O of the threads of a watched process that have ended since it is watched; `None` while one is just
    /// ending.
    pub fn own_io(&self, watch: &Watch) -> Option<IoAccounting> {
        let own = self.maps.life(watch.slot).own;
        (!self.maps.has_exiting(watch.tgid)).then_some(own)
    }

    /// Whether a program gave a process its slot, so that no thread of it ended unseen.
    pub fn is_whole(&self, watch: &Watch) -> bool {
        self.maps.life(watch.slot).start != 0
    }

    /// Takes its slot from a process, of which nothing more is to be known.
    pub fn release(&mut self, watch: Watch) {
        let is_living = self.maps.target(watch.slot).state == ProcessState::Living as u64;
        // The id may already be that of another process, with a slot of its own.
        self.maps.take(watch.tgid, watch.slot);
        if self.maps.are_short() {
            // It may still be counted in; better one slot less than figures of two processes in it.
            return;
        }
        self.held = self.held.saturating_sub(1);
        if is_living {
            self.cooling.insert(watch.slot);
        } else {
            self.free(watch.slot);
        }
    }

    /// Gives a slot free in which nobody counts any more.
    fn free(&mut self, slot: u32) {
        // Its next holder begins with what is in the counters.
        let offset = Counts::default().minus(&self.maps.sum(slot));
        self.maps.clear_life(slot);
        self.maps.set_target(slot, &ProcessRecord { offset, ..ProcessRecord::default() });
        if self.maps.are_short() {
            return;
        }
        if let Err(error) = self.free.push(slot) {
            tracing::error!("slot {slot} can't be used again: {error}");
        }
    }

    /// Whether maps could not be mapped into memory since this was last asked: what was read since then is not to be
    /// believed.
    pub fn was_short(&self) -> bool {
        self.maps.were_short()
    }

    /// The attached programs, with their descriptors in this process.
    pub fn programs(&self) -> Vec<(&'static str, RawFd)> {
        self.loaded.programs()
    }

    /// Slots in use, and all.
    pub fn slots(&self) -> (u64, u64) {
        (self.held.into(), self.maps.settings().capacity)
    }

    /// What could not be counted.
    pub fn losses(&self) -> DropsRecord {
        self.maps.losses()
    }

    /// The maps at this moment.
    pub fn snapshot(&self) -> Snapshot {
        snapshot(&self.maps)
    }
}

/// A process that is watched.
#[derive(Debug, PartialEq, Eq)]
pub struct Watch {
    tgid: u32,
    slot: u32,
}

impl Watch {
    /// Its slot.
    pub fn slot(&self) -> u32 {
        self.slot
    }
}

/// The maps of another agent at this moment.
pub fn snapshot_of(agent: &PinnedAgent) -> Result<Snapshot, KernelError> {
    loader::pinned_maps(agent).map(|maps| snapshot(&maps))
}

fn snapshot(maps: &Maps) -> Snapshot {
    let cpus = maps.cpus();
    let mut slots: Vec<Slot> = maps
        .slots()
        .map(|(tgid, slot)| Slot {
            tgid,
            slot,
            target: maps.target(slot),
            cpus: (0..cpus).map(|cpu| maps.counts(cpu, slot)).collect(),
        })
        .collect();
    slots.sort_by_key(|slot| slot.tgid);
    let is_over = |target: &ProcessRecord| {
        matches!(ProcessState::from_word(target.state), Some(ProcessState::Exited | ProcessState::Deselected))
    };
    let over = (1..=maps.capacity())
        .map(|slot| OverSlot { slot, target: maps.target(slot), life: maps.life(slot) })
        .filter(|over| is_over(&over.target))
        .collect();
    Snapshot { settings: maps.settings(), slots, over, losses: maps.losses() }
}

/// Whether a hook is a raw tracepoint at which a thread can be preempted, where the kernel allows that at all.
fn has_preemptible(hooks: &[Hook]) -> bool {
    // The kernel's scheduler has preemption off there, and a name that was missed is found by a collection.
    const SAFE: [&str; 3] = ["sched_switch", "sched_wakeup_new", "task_rename"];
    let is_unsafe = |hook: &Hook| hook.form == Variant::RawTracepoint && !SAFE.contains(&hook.tracepoint);
    hooks.iter().any(is_unsafe)
}

/// Whether a /proc shows processes by the ids by which this process knows them.
fn is_of_this_namespace(proc: &Path) -> bool {
    let this = std::process::id().to_string();
    fs::read_link(proc.join("self")).is_ok_and(|pid| pid.to_str() == Some(&this))
}

/// Whether /proc tells this process the starts of processes by another clock than that of the programs.
fn has_own_boot_time() -> bool {
    system::has_boot_offset(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default())
}

fn number(path: &'static str) -> Result<u32, KernelError> {
    let text = fs::read_to_string(path).map_err(|source| KernelError::System { path, source })?;
    text.trim().parse().map_err(|_| KernelError::System { path, source: io::ErrorKind::InvalidData.into() })
}

/// CPUs that could ever come online.
fn possible_cpus() -> Result<u32, KernelError> {
    let path = POSSIBLE_CPUS;
    let text = fs::read_to_string(path).map_err(|source| KernelError::System { path, source })?;
    system::numbered_cpus(text.trim())
        .ok_or(KernelError::System { path, source: io::ErrorKind::InvalidData.into() })
}
