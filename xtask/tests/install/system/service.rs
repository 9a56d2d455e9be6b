//! Where the script installs the service of the system, and whether the service starts at boot.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::machine::Machine;

pub(crate) const FOLDER: &str = "/opt/instana/agent/plugins/custom_sensors/microstrategy_m8refsvr";
pub(crate) const PROGRAM: &str =
    "/opt/instana/agent/plugins/custom_sensors/microstrategy_m8refsvr/m8refsvr-agent";
pub(crate) const UNIT: &str = "/etc/systemd/system/m8refsvr-agent.service";
pub(crate) const SETTINGS: &str = "/etc/m8refsvr/agent.env";

pub(crate) fn mode(machine: &Machine, path: &str) -> u32 {
    fs::metadata(machine.at(path)).unwrap().mode() & 0o7777
}

/// The unit that is enabled: that of the script or that of a package.
pub(crate) fn enabled(machine: &Machine) -> Option<PathBuf> {
    let link = machine.at("/etc/systemd/system/multi-user.target.wants/m8refsvr-agent.service");
    fs::read_link(link).ok()
}

/// Whether the script's unit is enabled.
pub(crate) fn is_enabled(machine: &Machine) -> bool {
    enabled(machine).is_some_and(|target| target == Path::new(UNIT))
}
