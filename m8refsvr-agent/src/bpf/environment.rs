//! What the BPF programs need to know of the machine, and what of this process's namespaces prevents them from
//! counting.

use std::{fs, io, path::Path};

use crate::{bpf::error::KernelError, proc::system};

const PID_MAX: &str = "/proc/sys/kernel/pid_max";
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// Whether a /proc shows processes by the ids by which this process knows them.
pub(crate) fn is_of_this_namespace(proc: &Path) -> bool {
    let this = std::process::id().to_string();
    fs::read_link(proc.join("self")).is_ok_and(|pid| pid.to_str() == Some(&this))
}

/// Whether /proc shows this process the starts of processes by another clock than that of the BPF programs.
pub(crate) fn has_own_boot_time() -> bool {
    system::has_boot_offset(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default())
}

/// `kernel.pid_max`.
pub(crate) fn pid_max() -> Result<u32, KernelError> {
    let path = PID_MAX;
    let text = fs::read_to_string(path).map_err(|source| KernelError::System { path, source })?;
    text.trim().parse().map_err(|_| KernelError::System { path, source: io::ErrorKind::InvalidData.into() })
}

/// CPUs that could ever come online.
pub(crate) fn possible_cpus() -> Result<u32, KernelError> {
    let path = POSSIBLE_CPUS;
    let text = fs::read_to_string(path).map_err(|source| KernelError::System { path, source })?;
    system::numbered_cpus(text.trim())
        .ok_or(KernelError::System { path, source: io::ErrorKind::InvalidData.into() })
}
