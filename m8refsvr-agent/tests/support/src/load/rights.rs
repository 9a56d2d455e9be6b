//! Users, capabilities, control groups and limits.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use rustix::{
    process::{Gid, Resource, Rlimit, Uid, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities,
        set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

/// The whole process, with all its threads.
pub(super) fn set_user(user: u32) -> Result<()> {
    Ok(nix::unistd::setuid(nix::unistd::Uid::from_raw(user))?)
}

/// The first thread alone: it is to execute a program. Capabilities are named as in the kernel without `CAP_`, with
/// commas between.
pub(super) fn set_user_keeping(user: u32, names: &str) -> Result<()> {
    let named = |name: &str| CapabilitySet::from_name(name).with_context(|| format!("no capability {name}"));
    let kept: CapabilitySet = names.split(',').map(named).collect::<Result<_>>()?;
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })?;
    Ok(kept.iter().try_for_each(|one| configure_capability_in_ambient_set(one, true))?)
}

pub(super) fn join_cgroup(folder: &str) -> Result<()> {
    Ok(fs::write(Path::new(folder).join("cgroup.procs"), std::process::id().to_string())?)
}

/// At most so many threads of its user.
pub(super) fn limit_processes(threads: u64) -> Result<()> {
    Ok(setrlimit(Resource::Nproc, Rlimit { current: Some(threads), maximum: Some(threads) })?)
}

pub(super) fn unlimited_core() -> Result<()> {
    Ok(setrlimit(Resource::Core, Rlimit { current: None, maximum: None })?)
}
