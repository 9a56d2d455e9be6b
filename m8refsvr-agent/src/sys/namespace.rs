//! Whether this process is in the machine's own namespaces, by numbers that are part of the kernel's interface
//! (`include/linux/proc_ns.h`).

use std::{fs, os::unix::fs::MetadataExt as _};

/// `PROC_PID_INIT_INO`
const PID: u64 = 0xEFFF_FFFC;
/// `PROC_USER_INIT_INO`
const USER: u64 = 0xEFFF_FFFD;

/// The BPF programs know processes by their ids in the initial PID namespace: elsewhere, ids from /proc would lead to
/// other processes.
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "only what attaches BPF programs asks"))]
pub(crate) fn is_initial_pid() -> bool {
    number("pid") == Some(PID)
}

/// In another user namespace capabilities count for what belongs to it alone: neither for BPF nor for processes
/// outside. A kernel without user namespaces has one.
pub(crate) fn is_initial_user() -> bool {
    number("user").is_none_or(|number| number == USER)
}

fn number(kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/self/ns/{kind}")).ok().map(|namespace| namespace.ino())
}
