//! Loading: makes the maps, and takes in the BPF programs.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    path::Path,
    thread,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, Map, MapData, Queue, RingBuf},
    programs::Program,
};
use m8refsvr_common::{
    comm::{MAX_NAMES, Name},
    signal::Variant,
    slot::counters_length,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    param::clock_ticks_per_second,
};

use crate::{
    bpf::{
        aya_error::{io_kind, missing_map, refused, unfit, with_causes},
        aya_maps::map_all,
        error::KernelError,
        hook::Hook,
        layout::Layout,
        maps::{Maps, NAMES},
        options::Comms,
        permissions,
        pins::{PinError, Pins},
        queues::{EventQueue, FreeSlots},
    },
    sys::kernel_release,
};

/// The object that is built in.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/m8refsvr.o"));

/// The loaded programs and their maps; detached and freed when dropped.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) ebpf: Ebpf,
    /// The BPF programs that are attached, with their tracepoints.
    pub(super) attached: Vec<(&'static str, &'static [&'static str])>,
}

/// Sizes of the maps.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) capacity: u32,
    pub(crate) cpus: u32,
    pub(crate) pid_max: u32,
}

impl Loaded {
    /// Makes the maps and takes in the BPF programs, which are loaded when they are attached.
    pub(crate) fn new(
        object: &[u8],
        layout: &Layout,
        sizes: Sizes,
        comms: &Comms,
    ) -> Result<Self, KernelError> {
        let counters = counters_length(sizes.capacity, sizes.cpus)
            .ok_or(KernelError::TooMany { capacity: sizes.capacity, cpus: sizes.cpus })?;
        // Our log's level, so that the BPF programs do not write what nobody reads.
        let log_level = log::max_level() as u8;
        let names: Vec<Name> = comms.names.iter().filter_map(|name| Name::new(name)).collect();
        let name_count = (names.len() as u32).min(MAX_NAMES);
        let any_comm = u32::from(comms.others || names.len() > name_count as usize);
        let tick = 1_000_000_000 / clock_ticks_per_second().max(1);
        let offsets = layout.offset_values();
        let mut ebpf = EbpfLoader::new()
            // Only BTF tracepoints and relocations of C programs need it. It has been parsed by now, which takes 15 MB
            // and half of the time to the first export: aya 0.14 has no constructor of the loader that leaves it out,
            // and programs and maps of its types come out of that loader alone.
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

    /// The free slots.
    pub(crate) fn free_slots(&mut self) -> Result<FreeSlots, KernelError> {
        let map = self.ebpf.take_map("FREE_SLOTS").ok_or_else(missing_map)?;
        Queue::try_from(map).map(FreeSlots).map_err(unfit)
    }

    /// Notifications from the BPF programs.
    pub(crate) fn event_queue(&mut self) -> Result<EventQueue, KernelError> {
        let map = self.ebpf.take_map("EVENTS").ok_or_else(missing_map)?;
        RingBuf::try_from(map).map(EventQueue).map_err(unfit)
    }

    /// Maps the maps into memory.
    pub(crate) fn maps(&self) -> Result<Maps, KernelError> {
        let found: Vec<&MapData> = NAMES.iter().filter_map(|name| self.map(name)).collect();
        let found: [&MapData; NAMES.len()] = found.try_into().map_err(|_| missing_map())?;
        map_all(found, true)
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
            let variant = match self.ebpf.program(program) {
                Some(Program::RawTracePoint(_)) => Variant::RawTracepoint,
                Some(Program::TracePoint(_)) => Variant::Tracepoint,
                _ => Variant::None,
            };
            tracepoints.iter().map(move |tracepoint| Hook { tracepoint, program, variant })
        };
        self.attached.iter().flat_map(of_program).collect()
    }

    /// The BPF programs that are attached, with their descriptors.
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

    /// Forwards what the BPF programs log, if they were built to, to our own log, for as long as this process lives.
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
