//! What a machine may lack that tests need.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where control groups with a limit of memory can be made, and the name of the file with the limit.
pub fn memory_cgroup() -> Result<(PathBuf, &'static str), String> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("memory/memory.limit_in_bytes").exists() {
        return Ok((root.join("memory"), "memory.limit_in_bytes"));
    }
    if has_controller(root, "memory") {
        return Ok((root.to_owned(), "memory.max"));
    }
    Err("no control group with a limit of memory can be made".into())
}

/// Where control groups with a limit of threads can be made.
pub fn pids_cgroup() -> Result<PathBuf, String> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("pids/cgroup.procs").exists() {
        return Ok(root.join("pids"));
    }
    if has_controller(root, "pids") {
        return Ok(root.to_owned());
    }
    Err("no control group with a limit of threads can be made".into())
}

/// Whether groups below this one, of version 2, have a controller.
fn has_controller(group: &Path, name: &str) -> bool {
    let controllers = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
    controllers.split_whitespace().any(|controller| controller == name)
}

/// Why processes that are killed leave no core files.
pub fn reason_against_core_files() -> Option<String> {
    match fs::read_to_string("/proc/sys/kernel/core_pattern") {
        Ok(pattern) if !pattern.starts_with('|') && !pattern.trim().is_empty() => None,
        _ => Some("kernel.core_pattern writes no files".to_owned()),
    }
}
