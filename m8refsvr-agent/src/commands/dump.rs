//! `debug dump`: the content of the maps, of the running agent or of BPF programs loaded for the dump.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result};
use m8refsvr_common::comm;

use super::{
    failure::{KernelPart, WrongUsage},
    output::{json, notice, print},
    setup::{READING, collector, follow},
    signals::Signals,
};
use crate::{
    bpf::{
        KernelError, Snapshot,
        pins::{self, PinError},
        snapshot_of,
    },
    cli::Ebpf,
    config::Settings,
    export::map_dump::Dump,
    proc::Proc,
};

pub(super) async fn dump(settings: Settings, as_json: bool, agent: Option<u32>) -> Result<ExitCode> {
    let dump = match of_running_agent(&settings, agent)? {
        Ok(dump) => dump,
        Err(why) => match of_own_programs(settings, why).await? {
            Ok(dump) => dump,
            Err(ended) => return Ok(ended),
        },
    };
    print(&if as_json { json(&dump)? } else { dump.to_string() })?;
    Ok(ExitCode::SUCCESS)
}

/// Why the maps are those of own BPF programs.
enum WithoutAgent {
    NoneRuns,
    /// A running agent can't be found, and what the way to it lacks.
    NotFound(String),
}

/// The maps of the agent that was named, or of the one that runs longest.
fn of_running_agent(
    settings: &Settings,
    wanted: Option<u32>,
) -> Result<std::result::Result<Dump, WithoutAgent>> {
    let agents = match pins::running(&settings.bpf_fs) {
        Ok(agents) => agents,
        Err(error) if wanted.is_some() => {
            return Err(anyhow::Error::from(error).context("the maps of a running agent can't be found"));
        }
        Err(error) => return Ok(Err(WithoutAgent::NotFound(not_found(settings, &error)))),
    };
    let pids = list_of(agents.iter().map(|agent| agent.pid));
    if let Some(wanted) = wanted {
        return match agents.iter().find(|agent| agent.pid == wanted) {
            Some(agent) => Ok(Ok(shown(settings, &snapshot_of(agent)?, agent.pid, true))),
            None if pids.is_empty() => {
                let bpf_fs = settings.bpf_fs.display();
                Err(WrongUsage(format!("no running agent has its maps in {bpf_fs}: leave out --agent"))
                    .into())
            }
            None => {
                Err(WrongUsage(format!("no agent {wanted} is running: give --agent one of {pids}")).into())
            }
        };
    }
    for agent in &agents {
        let snapshot = match snapshot_of(agent) {
            Err(KernelError::NotPinned { .. }) => continue,
            snapshot => snapshot?,
        };
        if agents.len() > 1 {
            notice(&format_args!("agents {pids} are running: showing {}; --agent chooses", agent.pid));
        }
        return Ok(Ok(shown(settings, &snapshot, agent.pid, true)));
    }
    // Without pins it may run all the same, as where the BPF file system was mounted after it started.
    let others = other_agents();
    Ok(Err(if others.is_empty() {
        WithoutAgent::NoneRuns
    } else {
        let (others, bpf_fs) = (list_of(others), settings.bpf_fs.display());
        WithoutAgent::NotFound(format!(
            "agent {others} is running, but its maps can't be found: they are not pinned in {bpf_fs}; it may run without \
             BPF programs, or have started before the BPF file system was mounted"
        ))
    }))
}

/// That maps can't be found, and what helps: with the agents that run, where there are any.
fn not_found(settings: &Settings, error: &PinError) -> String {
    let others = other_agents();
    let whose = match others.as_slice() {
        [] => "the maps of a running agent".to_owned(),
        others => format!("agent {} is running, but its maps", list_of(others.iter().copied())),
    };
    match error {
        PinError::NoBpfFs { .. } => format!(
            "{whose} can't be found, as no BPF file system is mounted at {path}: run `mount -t bpf -o mode=0700 bpf \
             {path}` and restart the agent",
            path = settings.bpf_fs.display()
        ),
        other => format!("{whose} can't be found: {other}"),
    }
}

/// Other processes with the agent's name.
fn other_agents() -> Vec<u32> {
    let (own, root) = (std::process::id(), Path::new("/proc"));
    let is_agent =
        |&pid: &u32| pid != own && name_in(root, pid).is_some_and(|name| name.starts_with(comm::OWN));
    Proc::new(root).pids().unwrap_or_default().into_iter().filter(is_agent).collect()
}

/// The name of a living process.
fn name_in(proc: &Path, pid: u32) -> Option<String> {
    let comm = fs::read(proc.join(pid.to_string()).join("comm")).ok()?;
    Some(String::from_utf8_lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned())
}

fn shown(settings: &Settings, snapshot: &Snapshot, pid: u32, running: bool) -> Dump {
    Dump::new(snapshot, pid, running, |pid| name_in(&settings.proc_root, pid))
}

fn list_of(pids: impl IntoIterator<Item = u32>) -> String {
    pids.into_iter().map(|pid| pid.to_string()).collect::<Vec<_>>().join(", ")
}

/// Loads the BPF programs, has them count for a while, and takes what they counted; or how a signal ended it.
async fn of_own_programs(
    mut settings: Settings,
    why: WithoutAgent,
) -> Result<std::result::Result<Dump, ExitCode>> {
    let why = match why {
        WithoutAgent::NoneRuns => "no agent is running".to_owned(),
        WithoutAgent::NotFound(reason) => reason,
    };
    if settings.ebpf == Ebpf::Off {
        return Err(WrongUsage(format!("{why}; --ebpf off loads no BPF programs to dump instead")).into());
    }
    settings.ebpf = Ebpf::Require;
    // Another dump shall not take this one for an agent.
    settings.kernel.bpf_fs = None;
    let mut signals = Signals::listen()?.handed_on()?;
    let mut collector = collector(&settings, &notice)?;
    notice(&format_args!("{why}; loading BPF programs for {} s instead", settings.sample.as_secs_f64()));
    collector.collect().context(READING)?;
    if let Some(ended) = follow(&mut collector, &mut signals, settings.sample).await? {
        return Ok(Err(ended));
    }
    collector.collect().context(READING)?;
    let snapshot =
        collector.snapshot().ok_or_else(|| KernelPart("the BPF programs are not loaded".into()))?;
    Ok(Ok(shown(&settings, &snapshot, std::process::id(), false)))
}
