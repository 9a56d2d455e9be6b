//! The programs at work: who is watched, and what was counted.

use std::{
    fs, io,
    os::{fd::RawFd, unix::fs::MetadataExt as _},
    path::Path,
};

use m8refsvr_common::record::{Counts, Form, LAYOUT, Losses, Settings, Target};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::{
    Forms, KernelError, NotWatched, Options, Slot, Snapshot, Switches,
    form::Layout,
    load::{self, Attached, Loaded, Sizes},
    maps::Maps,
    pins::{PinError, PinnedAgent, Pins},
};

const PID_MAX: &str = "/proc/sys/kernel/pid_max";
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// `PROC_PID_INIT_INO` in `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Threads whose switches are read, over all attempts, to find a moment at which a new process did not switch.
const THREADS_READ_FOR_START: usize = 2000;

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
    free: Vec<u32>,
}

impl Kernel {
    /// Loads and attaches what this kernel and this process's rights allow. An error when nothing could be
    /// attached; what could not be is in [`Self::problems`].
    pub fn attach(options: &Options) -> Result<Self, KernelError> {
        // Before Linux 5.11 maps count as locked memory. Where raising the limit is refused and needed, making
        // the maps fails and says so.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
        if !in_initial_pid_namespace() {
            return Err(KernelError::PidNamespace);
        }
        let sizes = Sizes { capacity: options.capacity, cpus: possible_cpus()?, pid_max: number(PID_MAX)? };
        let layout = Layout::of_kernel();
        let mut loaded = Loaded::new(options.object.as_deref().unwrap_or(load::OBJECT), &layout, sizes)?;
        let maps = loaded.maps()?;
        let switches = loaded.attach_switches(&options.switch_forms, &layout);
        let block = loaded.attach_block(&options.block_forms, &layout);
        if let (Attached { form: Form::None, problem: Some(first) }, Attached { form: Form::None, .. }) =
            (&switches, &block)
        {
            return Err(KernelError::Failed {
                what: "no BPF program could be attached".into(),
                cause: first.clone(),
            });
        }
        let forms = Forms { context_switches: switches.form, block_io: block.form };
        let problems = [("context switches", switches.problem), ("block I/O", block.problem)]
            .into_iter()
            .filter_map(|(what, problem)| {
                Some(format!("{what} can't be counted in the kernel: {}", problem?))
            })
            .collect();
        maps.set_settings(&Settings {
            layout: LAYOUT,
            capacity: sizes.capacity.into(),
            cpus: sizes.cpus.into(),
            pid_max: sizes.pid_max.into(),
            context_switches: forms.context_switches as u64,
            block_io: forms.block_io as u64,
        });
        loaded.forward_log();
        let (pins, pin_problem) = match options.bpf_fs.as_ref().map(|bpf_fs| loaded.pin(bpf_fs)) {
            Some(Ok(pins)) => (Some(pins), None),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        // The lowest slot is given out first.
        let free = (1..=options.capacity).rev().collect();
        Ok(Self { pins, loaded, maps, forms, problems, pin_problem, free })
    }

    /// In which form each source is attached.
    pub fn forms(&self) -> Forms {
        self.forms
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

    /// Counts for a process from now on. `before` reads the switches of its living threads, and how many threads
    /// it read; it is called until it met a moment without a switch, so that what it reads and what is counted
    /// meet without gap or overlap. Where a process switches too often for that, the fewest are left out.
    pub fn watch(
        &mut self,
        tgid: u32,
        start_ticks: u64,
        before: impl FnMut() -> Option<(Switches, usize)>,
    ) -> Result<Watch, NotWatched> {
        let mut losses = self.maps.losses();
        let Some(&slot) = self.free.last() else {
            losses.no_free_slot += 1;
            self.maps.set_losses(&losses);
            return Err(NotWatched::NoFreeSlot);
        };
        let watch = Watch { tgid, slot };
        let earlier = self.maps.sum(slot);
        if !self.maps.set_slot(tgid, slot) {
            losses.tgid_out_of_range += 1;
            self.maps.set_losses(&losses);
            return Err(NotWatched::OutOfRange);
        }
        self.free.pop();
        let Some(switches) = meeting_point(|| self.maps.sum(slot), before) else {
            self.release(watch);
            return Err(NotWatched::Gone);
        };
        let offset = Counts {
            voluntary: switches.voluntary,
            involuntary: switches.involuntary,
            ..Counts::default().minus(&earlier)
        };
        self.maps.set_target(slot, &Target { tgid: tgid.into(), start_ticks, offset });
        Ok(watch)
    }

    /// Whether one more process can be watched.
    pub fn has_free_slot(&self) -> bool {
        !self.free.is_empty()
    }

    /// Totals of a watched process.
    pub fn totals(&self, watch: &Watch) -> Counts {
        self.maps.sum(watch.slot).plus(&self.maps.target(watch.slot).offset)
    }

    /// Gives the slot of a process free that has ended.
    pub fn release(&mut self, watch: Watch) {
        // The id may already be that of another process, with a slot of its own.
        if self.maps.slot(watch.tgid) == Some(watch.slot) {
            self.maps.set_slot(watch.tgid, 0);
        }
        self.maps.set_target(watch.slot, &Target::default());
        self.free.push(watch.slot);
    }

    /// The attached programs, with their descriptors in this process.
    pub fn programs(&self) -> Vec<(&'static str, RawFd)> {
        self.loaded.programs()
    }

    /// Slots in use, and all.
    pub fn slots(&self) -> (u64, u64) {
        let all = self.maps.settings().capacity;
        (all.saturating_sub(self.free.len() as u64), all)
    }

    /// What could not be counted.
    pub fn losses(&self) -> Losses {
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

/// The maps of another agent at this moment.
pub fn snapshot_of(agent: &PinnedAgent) -> Result<Snapshot, KernelError> {
    load::pinned_maps(agent).map(|maps| snapshot(&maps))
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
    Snapshot { settings: maps.settings(), slots, losses: maps.losses() }
}

/// What must be added (wrapping) to `counted` so that it continues what `before` reads. `None` when nothing could
/// be read.
fn meeting_point(
    counted: impl Fn() -> Counts,
    mut before: impl FnMut() -> Option<(Switches, usize)>,
) -> Option<Switches> {
    let mut read = 0;
    let mut best: Option<[(u64, u64); 2]> = None;
    while read < THREADS_READ_FOR_START {
        let start = counted();
        let (switches, threads) = before()?;
        let end = counted();
        read += threads.max(1);
        // For each kind: how many fell into the reading, and the offset that leaves these out.
        let attempt = [
            (end.voluntary.wrapping_sub(start.voluntary), switches.voluntary.wrapping_sub(end.voluntary)),
            (
                end.involuntary.wrapping_sub(start.involuntary),
                switches.involuntary.wrapping_sub(end.involuntary),
            ),
        ];
        let closer = match best {
            None => attempt,
            Some([voluntary, involuntary]) => [voluntary.min(attempt[0]), involuntary.min(attempt[1])],
        };
        best = Some(closer);
        if closer[0].0 == 0 && closer[1].0 == 0 {
            break;
        }
    }
    best.map(|[(_, voluntary), (_, involuntary)]| Switches { voluntary, involuntary })
}

/// The programs know processes by their ids in the initial PID namespace: elsewhere, ids from /proc would lead to
/// other processes.
fn in_initial_pid_namespace() -> bool {
    let namespace = fs::metadata("/proc/self/ns/pid").is_ok_and(|it| it.ino() == INITIAL_PID_NAMESPACE);
    // A process of the host can look at the /proc of a container.
    let proc_is_of_it =
        fs::read_link("/proc/self").is_ok_and(|pid| pid.to_str() == Some(&std::process::id().to_string()));
    namespace && proc_is_of_it
}

fn number(path: &'static str) -> Result<u32, KernelError> {
    let text = fs::read_to_string(path).map_err(|source| KernelError::System { path, source })?;
    text.trim().parse().map_err(|_| KernelError::System { path, source: io::ErrorKind::InvalidData.into() })
}

/// CPUs that could ever come online: the highest number of the list, and one more for CPU 0.
fn possible_cpus() -> Result<u32, KernelError> {
    let path = POSSIBLE_CPUS;
    let text = fs::read_to_string(path).map_err(|source| KernelError::System { path, source })?;
    let highest = text.trim().rsplit(['-', ',']).next().and_then(|number| number.parse::<u32>().ok());
    let cpus = highest.and_then(|highest| highest.checked_add(1));
    cpus.ok_or(KernelError::System { path, source: io::ErrorKind::InvalidData.into() })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn counts(voluntary: u64) -> Counts {
        Counts { voluntary, ..Counts::default() }
    }

    fn read(voluntary: u64) -> Option<(Switches, usize)> {
        Some((Switches { voluntary, involuntary: 0 }, 4))
    }

    #[test]
    fn a_quiet_process_is_continued_exactly() {
        let offset = meeting_point(|| counts(3), || read(1003)).unwrap();
        assert_eq!(offset.voluntary.wrapping_add(10), 1010);
    }

    #[test]
    fn a_reading_into_which_a_switch_fell_is_repeated() {
        // The process switches during the first two readings.
        let real = Cell::new(1000);
        let attempts = Cell::new(0);
        let offset = meeting_point(
            || counts(real.get() - 1000),
            || {
                let seen = read(real.get());
                attempts.set(attempts.get() + 1);
                if attempts.get() < 3 {
                    real.set(real.get() + 1);
                }
                seen
            },
        );
        assert_eq!(attempts.get(), 3);
        assert_eq!(offset.unwrap().voluntary, 1000);
    }

    #[test]
    fn a_process_that_never_rests_loses_the_fewest_and_is_not_read_for_ever() {
        let real = Cell::new(0);
        let step = Cell::new(10);
        let offset = meeting_point(
            || counts(real.get()),
            || {
                step.set((step.get() - 1).max(2));
                real.set(real.get() + step.get());
                read(real.get() - step.get())
            },
        );
        // Each attempt loses what fell into it, the best of them 2.
        assert_eq!(offset.unwrap().voluntary, 0_u64.wrapping_sub(2));
    }

    #[test]
    fn a_process_that_is_gone_has_no_start() {
        assert_eq!(meeting_point(|| counts(0), || None), None);
    }
}
