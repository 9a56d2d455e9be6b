//! Maps as aya has them, mapped into memory: those of this agent, or the pinned ones of another.

use std::{io, os::fd::AsFd as _};

use aya::maps::MapData;
use m8refsvr_common::record::LAYOUT;

use crate::bpf::{
    aya_error::{io_kind, missing_map, refused},
    error::KernelError,
    maps::{Maps, NAMES, Source},
    pins::PinnedAgent,
};

/// The maps of another agent.
pub(crate) fn pinned_maps(agent: &PinnedAgent) -> Result<Maps, KernelError> {
    let open = |name: &str| {
        let path = agent.folder.join(name);
        MapData::from_pin(&path).map_err(|error| match io_kind(&error) {
            Some(io::ErrorKind::NotFound) => KernelError::NotPinned { pid: agent.pid },
            kind => refused(&format!("the pinned map {} can't be opened", path.display()), &error, kind),
        })
    };
    let [slots, counters, processes, exits, drops, settings] = NAMES;
    let settings = open(settings)?;
    let layout = Maps::layout(&source(&settings)?).map_err(KernelError::Mapping)?;
    if layout != LAYOUT {
        return Err(KernelError::OtherLayout { pid: agent.pid, found: layout, expected: LAYOUT });
    }
    let [slots, counters, processes, exits, drops] =
        [open(slots)?, open(counters)?, open(processes)?, open(exits)?, open(drops)?];
    map_all([&slots, &counters, &processes, &exits, &drops, &settings], false)
}

/// Maps all maps into memory, in the order of [`NAMES`].
pub(crate) fn map_all(maps: [&MapData; NAMES.len()], writable: bool) -> Result<Maps, KernelError> {
    let sources = maps.into_iter().map(source).collect::<Result<Vec<_>, _>>()?;
    let sources: [Source<'_>; NAMES.len()] = sources.try_into().map_err(|_| missing_map())?;
    Maps::new(sources, writable).map_err(KernelError::Mapping)
}

fn source(map: &MapData) -> Result<Source<'_>, KernelError> {
    let info = map.info().map_err(|error| {
        refused("the kernel gives no information about its maps", &error, io_kind(&error))
    })?;
    Ok(Source { fd: map.fd().as_fd(), value_size: info.value_size(), max_entries: info.max_entries() })
}
