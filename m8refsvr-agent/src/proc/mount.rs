//! With which options a /proc is mounted.

use procfs::process::Process;

use super::Proc;

/// The value of an option of the mount that `proc` is; `None` where it is not set, or can't be known.
pub fn option(proc: &Proc, name: &str) -> Option<String> {
    let root = proc.root().canonicalize().ok()?;
    let mounts = Process::myself().and_then(|this| this.mountinfo()).ok()?;
    // Of several on one folder the last is seen.
    let mount = mounts.into_iter().rfind(|mount| mount.mount_point == root)?;
    mount.super_options.get(name)?.clone()
}
