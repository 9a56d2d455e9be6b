//! Why the kernel refused BPF, and what its administrator can do about it.

use std::{fs, path::Path};

use rustix::thread::CapabilitySet;

use crate::sys::{capabilities, namespace};

/// The number of CAP_BPF in `include/uapi/linux/capability.h`.
const BPF: u32 = 39;

/// The capabilities for BPF, from Linux 5.8 on.
const NEEDED: [(CapabilitySet, &str); 2] =
    [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")];

/// Since then the bpf call wants no rights for maps that a process has.
const OPEN_MAPS: (u32, u32) = (5, 19);

const CONFINED: &str = "this process is in a user namespace of its own, in which no capability counts for BPF; run it \
                        outside of that (not by rootless containers, nor by `unshare --user`), as root or with CAP_BPF and \
                        CAP_PERFMON";

/// What helps the service on a kernel without CAP_BPF.
pub(crate) const NO_CAP_BPF: &str = "this kernel has no CAP_BPF; if it has BPF ring buffers, the service counts in the \
    kernel with CAP_SYS_ADMIN instead: the drop-in packaging/cap-sys-admin.conf gives that";

/// What this process may do, as far as it matters for BPF.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights {
    /// The effective capabilities; `None` where they can't be read.
    capabilities: Option<CapabilitySet>,
    /// Whether they count for a user namespace of its own alone.
    is_confined: bool,
    /// Whether the kernel is locked down so far that BPF programs may not read its memory.
    confidential: bool,
    /// The highest capability that this kernel knows.
    last_capability: Option<u32>,
}

impl Rights {
    /// The rights of this process.
    pub(crate) fn of_this_process() -> Self {
        let lockdown = fs::read_to_string(Path::new("/sys/kernel/security/lockdown")).unwrap_or_default();
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
        Self {
            capabilities: capabilities::effective(),
            is_confined: !namespace::is_initial_user(),
            confidential: lockdown.contains("[confidentiality]"),
            last_capability: last.trim().parse().ok(),
        }
    }

    /// Whether the kernel is locked down so far that its verifier does not know the functions that read its memory.
    pub(crate) fn is_confidential(&self) -> bool {
        self.confidential
    }

    /// A sentence about what is missing and how to grant it.
    pub(crate) fn advice(&self) -> String {
        if self.confidential {
            return "the kernel is locked down (confidentiality), which forbids BPF programs to read its memory; \
                    boot with lockdown=integrity or less, or use --ebpf off"
                .into();
        }
        if self.is_confined {
            return CONFINED.into();
        }
        match self.missing().as_slice() {
            [] => format!(
                "{} there, so a seccomp filter, a security module or a limit on locked memory (before Linux 5.11: \
                 `ulimit -l unlimited`, LimitMEMLOCK=infinity) stands in the way",
                if self.has_no_bpf() { "CAP_SYS_ADMIN is" } else { "CAP_BPF and CAP_PERFMON are" }
            ),
            _ if self.has_no_bpf() => format!("CAP_SYS_ADMIN is missing; run as root: {NO_CAP_BPF}"),
            missing => format!(
                "{} {} missing; run as root, or give the service AmbientCapabilities=CAP_BPF CAP_PERFMON (where \
                 systemd is older than 246, which skips these: the drop-in packaging/cap-sys-admin.conf), or the program \
                 `setcap cap_bpf,cap_perfmon+ep`",
                missing.join(" and "),
                if missing.len() == 1 { "is" } else { "are" }
            ),
        }
    }

    /// Whether this kernel knows no CAP_BPF, so that CAP_SYS_ADMIN stands for it.
    pub(crate) fn has_no_bpf(&self) -> bool {
        self.last_capability.is_some_and(|last| last < BPF)
    }

    fn missing(&self) -> Vec<&'static str> {
        let Some(held) = self.capabilities else { return Vec::new() };
        if self.has_no_bpf() && !held.contains(CapabilitySet::SYS_ADMIN) {
            return vec!["CAP_SYS_ADMIN"];
        }
        capabilities::missing(held, &NEEDED)
    }
}

/// Whether `kernel.unprivileged_bpf_disabled` is set.
pub(crate) fn is_bpf_disabled() -> bool {
    fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").is_ok_and(|text| text.trim() != "0")
}

/// Whether maps that can be used without rights now can be used for ever. Before Linux 5.19 setting
/// `kernel.unprivileged_bpf_disabled` locks the whole bpf call, from then on only what makes maps and programs
/// (`__sys_bpf` in `kernel/bpf/syscall.c`). Where it is set already, what can be used is not locked by it, as where
/// 5.19 was ported back.
pub(crate) fn maps_stay_open(is_bpf_disabled: bool, version: Option<(u32, u32)>) -> bool {
    is_bpf_disabled || version.is_some_and(|version| version >= OPEN_MAPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(capabilities: CapabilitySet) -> Rights {
        Rights { capabilities: Some(capabilities), last_capability: Some(40), ..Rights::default() }
    }

    #[test]
    fn each_missing_capability_is_named() {
        assert!(rights(CapabilitySet::empty()).advice().starts_with("CAP_BPF and CAP_PERFMON are missing"));
        assert!(rights(CapabilitySet::BPF).advice().starts_with("CAP_PERFMON is missing"));
        assert!(rights(CapabilitySet::PERFMON).advice().starts_with("CAP_BPF is missing"));
    }

    #[test]
    fn with_all_rights_the_advice_looks_elsewhere() {
        assert!(rights(CapabilitySet::BPF | CapabilitySet::PERFMON).advice().contains("seccomp"));
        assert!(rights(CapabilitySet::SYS_ADMIN).advice().contains("seccomp"));
        let confidential = Rights { confidential: true, ..rights(CapabilitySet::SYS_ADMIN) };
        assert!(confidential.advice().contains("locked down"));
    }

    #[test]
    fn capabilities_of_a_user_namespace_are_none() {
        let confined = Rights { is_confined: true, ..rights(CapabilitySet::all()) };
        assert!(confined.advice().contains("user namespace"));
    }

    #[test]
    fn maps_stay_open_where_no_later_setting_can_lock_them() {
        assert!(maps_stay_open(false, Some((5, 19))) && maps_stay_open(false, Some((6, 1))));
        assert!(!maps_stay_open(false, Some((5, 18))) && !maps_stay_open(false, Some((5, 10))));
        assert!(maps_stay_open(true, Some((5, 18))), "it was tried while it was set");
        assert!(!maps_stay_open(false, None));
    }

    #[test]
    fn a_kernel_without_the_finer_capabilities_wants_the_coarse_one() {
        let old = Rights { last_capability: Some(37), ..rights(CapabilitySet::empty()) };
        assert!(
            old.advice().starts_with("CAP_SYS_ADMIN is missing")
                && old.advice().contains("cap-sys-admin.conf")
        );
        let as_root = Rights { last_capability: Some(37), ..rights(CapabilitySet::SYS_ADMIN) };
        assert!(as_root.advice().starts_with("CAP_SYS_ADMIN is there"));
    }
}
