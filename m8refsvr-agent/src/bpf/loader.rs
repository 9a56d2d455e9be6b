//! Loading and attaching: the only file that knows aya.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
    path::Path,
    thread,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, Map, MapData, MapError, Queue, RingBuf},
    programs::{Program, ProgramError, RawTracePoint, TracePoint},
};
use m8refsvr_common::{
    comm::{MAX_NAMES, Name},
    record::{LAYOUT, Variant},
    slot::counters_length,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    param::clock_ticks_per_second,
};

use crate::{
    bpf::{
        Comms, Hook, KernelError,
        layout::Layout,
        maps::{Maps, NAMES, Source},
        permissions::{self, Rights},
        pins::{PinError, PinnedAgent, Pins},
        variants::{BlockForm, SwitchForm, lifecycle},
    },
    sys::kernel_release,
};

/// How lines of the verifier's log begin that say nothing of the reason.
const VERIFIER_STATISTICS: [&str; 4] =
    ["processed ", "verification time", "stack depth", "max_states_per_insn"];

/// The object that is built in.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/m8refsvr.o"));

/// The loaded programs and their maps; detached and freed when dropped.
#[derive(Debug)]
pub(crate) struct Loaded {
    ebpf: Ebpf,
    /// The programs that are attached, with their tracepoints.
    attached: Vec<(&'static str, &'static [&'static str])>,
}

/// What came of trying to attach the hooks of one source.
pub(crate) struct Attached {
    pub(crate) form: Variant,
    /// Why nothing could be attached.
    pub(crate) problem: Option<String>,
}

/// Sizes of the maps.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) capacity: u32,
    pub(crate) cpus: u32,
    pub(crate) pid_max: u32,
}

impl Loaded {
    /// Makes the maps and takes in the programs, which are loaded when they are attached.
    pub(crate) fn new(
        object: &[u8],
        layout: &Layout,
        sizes: Sizes,
        comms: &Comms,
    ) -> Result<Self, KernelError> {
        let counters = counters_length(sizes.capacity, sizes.cpus)
            .ok_or(KernelError::TooMany { capacity: sizes.capacity, cpus: sizes.cpus })?;
        // Our log's level, so that the programs do not write what nobody reads.
        let log_level = log::max_level() as u8;
        let names: Vec<Name> = comms.names.iter().filter_map(|name| Name::new(name)).collect();
        let name_count = (names.len() as u32).min(MAX_NAMES);
        let any_comm = u32::from(comms.others || names.len() > name_count as usize);
        let tick = 1_000_000_000 / clock_ticks_per_second().max(1);
        let offsets = layout.offset_values();
        let mut ebpf = EbpfLoader::new()
            // Only BTF tracepoints and relocations of C programs need it. It has been parsed by now, which takes 15 MB and
            // half of the time to the first export: aya 0.14 has no constructor of the loader that leaves it out, and
            // programs and maps of its types come out of that loader alone.
            .btf(None)
            .override_global("OFFSETS", offsets.as_slice(), true)
            .override_global("AYA_LOG_LEVEL", &log_level, false)
            .override_global("CPUS", &sizes.cpus, true)
            .override_global("TICK", &tick, true)
            .override_global("NAME_COUNT", &name_count, true)
            .override_global("ANY_COMM", &any_comm, true)
            .map_max_entries("NAMES", MAX_NAMES)
            .map_max_entries("EXITS", sizes.capacity)
            .map_max_entries("FREE_SLOTS", sizes.capacity)
            .map_max_entries("SLOTS", sizes.pid_max)
            .map_max_entries("COUNTERS", counters)
            .map_max_entries("PROCESSES", sizes.capacity)
            .load(object)
            .map_err(|error| match error {
                EbpfError::ParseError(error) => KernelError::Object(with_causes(&error)),
                error => refused(
                    "the BPF maps could not be made (a smaller --max-tracked-processes needs less memory)",
                    &error,
                    io_kind(&error),
                ),
            })?;
        let map = ebpf.map_mut("NAMES").ok_or_else(missing_map)?;
        let mut map = Array::<_, [u64; 4]>::try_from(map).map_err(unfit)?;
        for (at, name) in (0..name_count).zip(&names) {
            let [a, b] = name.letters;
            let [c, d] = name.mask;
            map.set(at, [a, b, c, d], 0).map_err(unfit)?;
        }
        Ok(Self { ebpf, attached: Vec::new() })
    }

    /// The slots that nobody holds.
    pub(crate) fn free_slots(&mut self) -> Result<FreeSlots, KernelError> {
        let map = self.ebpf.take_map("FREE_SLOTS").ok_or_else(missing_map)?;
        Queue::try_from(map).map(FreeSlots).map_err(unfit)
    }

    /// What the programs tell.
    pub(crate) fn events(&mut self) -> Result<Events, KernelError> {
        let map = self.ebpf.take_map("EVENTS").ok_or_else(missing_map)?;
        RingBuf::try_from(map).map(Events).map_err(unfit)
    }

    /// Follows processes as they start and end, for which switches must be counted.
    pub(crate) fn attach_lifecycle(&mut self, layout: &Layout) -> Attached {
        let outcome = if layout.can_follow {
            self.attach_sched(layout, lifecycle).map_err(|error| error.to_string())
        } else {
            Err("the kernel's BTF does not show what is needed".to_owned())
        };
        match outcome {
            Ok(()) => Attached { form: Variant::RawTracepoint, problem: None },
            Err(problem) => Attached { form: Variant::None, problem: Some(problem) },
        }
    }

    /// Maps the maps into memory.
    pub(crate) fn maps(&self) -> Result<Maps, KernelError> {
        let found: Vec<&MapData> = NAMES.iter().filter_map(|name| self.map(name)).collect();
        let found: [&MapData; NAMES.len()] = found.try_into().map_err(|_| missing_map())?;
        map_all(found, true)
    }

    /// Attaches the first of the forms that the kernel is made for and accepts.
    pub(crate) fn attach_switches(&mut self, forms: &[SwitchForm], layout: &Layout) -> Attached {
        self.attach_first(
            forms,
            |form| form.fits(layout),
            SwitchForm::form,
            |loaded, form| loaded.attach_sched(layout, |is_classic| form.programs(is_classic)),
        )
    }

    /// As [`Self::attach_switches`], for block I/O.
    pub(crate) fn attach_block(&mut self, forms: &[BlockForm], layout: &Layout) -> Attached {
        self.attach_first(
            forms,
            |form| form.fits(layout),
            BlockForm::form,
            |loaded, form| loaded.attach("block", &form.programs()),
        )
    }

    fn attach_first<F: Copy + std::fmt::Debug>(
        &mut self,
        forms: &[F],
        fits: impl Fn(F) -> Result<(), &'static str>,
        name: impl Fn(F) -> Variant,
        attach: impl Fn(&mut Self, F) -> Result<(), KernelError>,
    ) -> Attached {
        let mut problems = Vec::new();
        for &form in forms {
            let outcome = fits(form)
                .map_err(str::to_owned)
                .and_then(|()| attach(self, form).map_err(|error| error.to_string()));
            let Err(problem) = outcome else {
                tracing::debug!("attached: {form:?}");
                return Attached { form: name(form), problem: None };
            };
            tracing::debug!("{form:?} can't be used: {problem}");
            // One reason for all of them is said once.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        Attached { form: Variant::None, problem }
    }

    /// Attaches programs of the scheduler; those that can be had by classic tracepoints too by these, where they are
    /// preferred and not refused: Debian's and Ubuntu's kernels want `CAP_SYS_ADMIN` for them unless a sysctl is lower.
    fn attach_sched<const N: usize>(
        &mut self,
        layout: &Layout,
        programs: impl Fn(bool) -> [(&'static str, &'static [&'static str]); N],
    ) -> Result<(), KernelError> {
        if layout.prefers_classic {
            match self.attach("sched", &programs(true)) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!("classic tracepoints can't be used: {error}"),
            }
        }
        self.attach("sched", &programs(false))
    }

    /// Attaches programs to their tracepoints: all of them, or none.
    fn attach(
        &mut self,
        category: &str,
        programs: &[(&'static str, &'static [&'static str])],
    ) -> Result<(), KernelError> {
        let outcome = programs.iter().try_for_each(|(name, tracepoints)| {
            let missing = || KernelError::Object(format!("the program {name} is missing in it"));
            let outcome = match self.ebpf.program_mut(name).ok_or_else(missing)? {
                Program::RawTracePoint(program) => attach_raw(program, tracepoints),
                Program::TracePoint(program) => attach_classic(program, category, tracepoints),
                _ => return Err(missing()),
            };
            outcome.map_err(|error| program_refused(name, &error))
        });
        if outcome.is_ok() {
            self.attached.extend(programs);
        } else {
            for (name, _) in programs {
                // Those that were not loaded yet say so, and need nothing.
                let _ = match self.ebpf.program_mut(name) {
                    Some(Program::RawTracePoint(program)) => program.unload(),
                    Some(Program::TracePoint(program)) => program.unload(),
                    _ => Ok(()),
                };
            }
        }
        outcome
    }

    /// Whether this thread can use the maps, now and later. Where the kernel wants rights for what is asked about maps,
    /// it wants them for whatever is done to them.
    pub(crate) fn reaches_maps(&self) -> bool {
        let stays_so = permissions::maps_stay_open(permissions::is_bpf_disabled(), kernel_release::version());
        stays_so && NAMES.iter().filter_map(|name| self.map(name)).all(|map| map.info().is_ok())
    }

    /// What is attached to what.
    pub(crate) fn hooks(&self) -> Vec<Hook> {
        let of_program = |&(program, tracepoints): &(&'static str, &'static [&'static str])| {
            let form = match self.ebpf.program(program) {
                Some(Program::RawTracePoint(_)) => Variant::RawTracepoint,
                Some(Program::TracePoint(_)) => Variant::Tracepoint,
                _ => Variant::None,
            };
            tracepoints.iter().map(move |tracepoint| Hook { tracepoint, program, form })
        };
        self.attached.iter().flat_map(of_program).collect()
    }

    /// The programs that are attached, with their descriptors.
    pub(crate) fn programs(&self) -> Vec<(&'static str, RawFd)> {
        let descriptor = |(name, _): &(&'static str, _)| {
            let program = self.ebpf.program(name)?.fd().ok()?;
            Some((*name, program.as_fd().as_raw_fd()))
        };
        self.attached.iter().filter_map(descriptor).collect()
    }

    /// Pins the maps for other processes.
    pub(crate) fn pin(&self, bpf_fs: &Path) -> Result<Pins, PinError> {
        Pins::create(bpf_fs, &NAMES, |name, path| {
            let map = self.map(name).ok_or("it is missing in the object")?;
            map.pin(path).map_err(|error| with_causes(&error))
        })
    }

    /// Forwards what the programs log, if they were built to, to our own log, for as long as this process lives.
    pub(crate) fn forward_log(&mut self) {
        if self.ebpf.map("AYA_LOGS").is_none() {
            return;
        }
        match aya_log::EbpfLogger::init(&mut self.ebpf) {
            Ok(mut logger) => {
                // A thread, as it is there in developers' builds alone; it sleeps until something is logged.
                thread::spawn(move || {
                    loop {
                        let ready = poll(&mut [PollFd::new(&logger, PollFlags::IN)], None);
                        match ready {
                            Ok(_) => logger.flush(),
                            Err(rustix::io::Errno::INTR) => {}
                            Err(error) => {
                                tracing::warn!("the programs' log can't be followed any more: {error}");
                                return;
                            }
                        }
                    }
                });
            }
            Err(error) => tracing::warn!("the programs' log can't be followed: {error}"),
        }
    }

    fn map(&self, name: &str) -> Option<&MapData> {
        match self.ebpf.map(name)? {
            Map::Array(data) => Some(data),
            _ => None,
        }
    }
}

/// What the programs tell.
pub(crate) struct Events(RingBuf<MapData>);

impl Events {
    /// The next record, given to `take`; `None` when all were taken.
    pub(crate) fn next<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.0.next().map(|record| take(&record))
    }

    /// A descriptor that can be read when there is something.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Events").field(&self.0.as_raw_fd()).finish()
    }
}

/// Slots that nobody holds: the programs and the agent take them from here.
pub(crate) struct FreeSlots(Queue<MapData, u32>);

impl std::fmt::Debug for FreeSlots {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("FreeSlots").finish_non_exhaustive()
    }
}

impl FreeSlots {
    /// Takes one; `None` where there is none.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        // The only other cause of an error would be a map that is none.
        self.0.pop(0).ok()
    }

    /// Puts one back, behind all others. There is room for all that there are.
    pub(crate) fn push(&mut self, slot: u32) -> io::Result<()> {
        self.0.push(slot, 0).map_err(|error| io::Error::other(with_causes(&error)))
    }
}

fn missing_map() -> KernelError {
    KernelError::Object("a map is missing in it".into())
}

fn unfit(error: MapError) -> KernelError {
    KernelError::Object(with_causes(&error))
}

/// The maps of another agent.
pub(crate) fn pinned_maps(agent: &PinnedAgent) -> Result<Maps, KernelError> {
    let open = |name: &str| {
        let path = agent.folder.join(name);
        MapData::from_pin(&path).map_err(|error| match io_kind(&error) {
            Some(io::ErrorKind::NotFound) => KernelError::NotPinned { pid: agent.pid },
            kind => refused(&format!("the pinned map {} can't be opened", path.display()), &error, kind),
        })
    };
    let [slots, counters, targets, lives, losses, settings] = NAMES;
    let settings = open(settings)?;
    let layout = Maps::layout(&source(&settings)?).map_err(KernelError::Mapping)?;
    if layout != LAYOUT {
        return Err(KernelError::OtherLayout { pid: agent.pid, found: layout, expected: LAYOUT });
    }
    let [slots, counters, targets, lives, losses] =
        [open(slots)?, open(counters)?, open(targets)?, open(lives)?, open(losses)?];
    map_all([&slots, &counters, &targets, &lives, &losses, &settings], false)
}

fn map_all(maps: [&MapData; NAMES.len()], writable: bool) -> Result<Maps, KernelError> {
    let sources = maps.into_iter().map(source).collect::<Result<Vec<_>, _>>()?;
    let sources: [Source<'_>; NAMES.len()] = sources.try_into().map_err(|_| missing_map())?;
    Maps::new(sources, writable).map_err(KernelError::Mapping)
}

fn source(map: &MapData) -> Result<Source<'_>, KernelError> {
    let info = map
        .info()
        .map_err(|error| refused("the kernel tells nothing of its maps", &error, io_kind(&error)))?;
    Ok(Source { fd: map.fd().as_fd(), value_size: info.value_size(), max_entries: info.max_entries() })
}

fn attach_raw(program: &mut RawTracePoint, tracepoints: &[&str]) -> Result<(), ProgramError> {
    program.load()?;
    tracepoints.iter().try_for_each(|tracepoint| program.attach(tracepoint).map(|_| ()))
}

fn attach_classic(
    program: &mut TracePoint,
    category: &str,
    tracepoints: &[&str],
) -> Result<(), ProgramError> {
    program.load()?;
    tracepoints.iter().try_for_each(|tracepoint| program.attach(category, tracepoint).map(|_| ()))
}

/// A program that the verifier looked at and did not accept is an error of ours, though the kernel reports it with
/// the same number as want of rights.
fn program_refused(name: &str, error: &ProgramError) -> KernelError {
    let what = format!("the BPF program {name} was refused");
    match error {
        ProgramError::LoadError { verifier_log, io_error } if !verifier_log.to_string().trim().is_empty() => {
            let log = verifier_log.to_string();
            log.lines().for_each(|line| tracing::debug!("{what}; the verifier's log: {line}"));
            // The last lines say what was not accepted; those after it count what was looked at.
            let reason = log.lines().rfind(|line| {
                let line = line.trim();
                !line.is_empty() && !VERIFIER_STATISTICS.iter().any(|start| line.starts_with(start))
            });
            KernelError::Failed { what, cause: format!("{} ({io_error})", reason.unwrap_or_default().trim()) }
        }
        _ => refused(&what, error, io_kind(error)),
    }
}

/// Tells a refusal for want of rights from other failures.
fn refused(what: &str, error: &dyn std::error::Error, kind: Option<io::ErrorKind>) -> KernelError {
    if kind == Some(io::ErrorKind::PermissionDenied) {
        return KernelError::Refused { advice: Rights::of_this_process().advice() };
    }
    KernelError::Failed { what: what.to_owned(), cause: with_causes(error) }
}

/// The kind of the first error in the chain that came from the system.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        current = error.source();
    }
    None
}

/// An error with all its causes on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
