//! What of their surroundings tests set up for themselves, whatever the machine is like, and where nobody else sees it.

use std::{env, ffi::CStr, path::Path};

use rustix::{
    fs::Mode,
    io,
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    process::umask,
    thread::{UnshareFlags, unshare_unsafe},
};

/// Sets the usual mode of new files, and the language of programs that tests call. It comes first in `main`.
pub fn begin() {
    umask(Mode::WGRP | Mode::WOTH);
    // SAFETY: no other thread has been started yet.
    #[expect(unsafe_code, reason = "the programs that tests call inherit it")]
    unsafe {
        env::set_var("LC_ALL", "C");
    }
}

/// Mounts what tests need in a mount namespace of their own: a /proc that shows all processes to all users, a BPF file
/// system, and tracefs where there is none. Needs root; it comes before any thread is started.
pub fn private_mounts() -> io::Result<()> {
    // SAFETY: no other thread has been started yet.
    #[expect(unsafe_code, reason = "rustix has no other way to unshare")]
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNS)?;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount_new("proc", "/proc", c"hidepid=0")?;
    mount_new("bpf", "/sys/fs/bpf", c"mode=1777")?;
    if !Path::new("/sys/kernel/tracing/events").exists() {
        mount_new("tracefs", "/sys/kernel/tracing", c"")?;
    }
    Ok(())
}

fn mount_new(kind: &str, place: &str, options: &CStr) -> io::Result<()> {
    mount(kind, place, kind, MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, Some(options))
}
