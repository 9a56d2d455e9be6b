//! The rights that the service has: this test program takes them, and becomes the agent.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use rustix::{
    process::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities,
        set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

/// The first argument by which this program knows that it shall become another one with the service's rights.
pub(crate) const ARGUMENT: &str = "--as-the-service";
/// Of nobody.
pub(crate) const USER: u32 = 65534;
/// Those of the unit.
const CAPABILITIES: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH);

/// Becomes the program that the other arguments name. Returns only where that fails.
pub(crate) fn become_it(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let program = arguments.next().unwrap();
    take_rights().unwrap();
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("cannot become {}: {error}", program.display());
    ExitCode::FAILURE
}

fn take_rights() -> rustix::io::Result<()> {
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    let all = CAPABILITIES;
    set_capabilities(None, CapabilitySets { effective: all, permitted: all, inheritable: all })?;
    all.iter().try_for_each(|one| configure_capability_in_ambient_set(one, true))
}
