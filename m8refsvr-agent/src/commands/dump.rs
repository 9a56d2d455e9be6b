//! `debug dump`: what is in the maps.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::{
    failure::{KernelPart, WrongUsage},
    output::{json, print, say},
    setup::{READING, collector, follow},
    signals::Signals,
};
use crate::{
    bpf::{KernelError, pins, snapshot_of},
    cli::Ebpf,
    config::Settings,
    export::map_dump::Dump,
};

pub(super) async fn dump(settings: Settings, as_json: bool, agent: Option<u32>) -> Result<ExitCode> {
    let dump = match of_running_agent(&settings, agent)? {
        Some(dump) => dump,
        None => match of_own_programs(settings).await? {
            Ok(dump) => dump,
            Err(ended) => return Ok(ended),
        },
    };
    print(&if as_json { json(&dump)? } else { dump.to_string() })?;
    Ok(ExitCode::SUCCESS)
}

/// The maps of the agent that was named, or of the one that runs longest; `None` when none runs.
fn of_running_agent(settings: &Settings, wanted: Option<u32>) -> Result<Option<Dump>> {
    let agents = match pins::running(&settings.bpf_fs) {
        Ok(agents) => agents,
        Err(error) if wanted.is_some() => return Err(error.into()),
        Err(error) => {
            say(&format_args!("no running agent can be found: {error}"));
            Vec::new()
        }
    };
    let pids = agents.iter().map(|agent| agent.pid.to_string()).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wanted {
        return match agents.iter().find(|agent| agent.pid == wanted) {
            Some(agent) => Ok(Some(Dump::new(&snapshot_of(agent)?, agent.pid, true))),
            None if pids.is_empty() => {
                Err(WrongUsage("no agent is running: leave out --agent".into()).into())
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
            say(&format_args!("agents {pids} are running: showing {}; --agent chooses", agent.pid));
        }
        return Ok(Some(Dump::new(&snapshot, agent.pid, true)));
    }
    Ok(None)
}

/// Loads the programs, has them count for a while, and takes what they counted; or how a signal ended it.
async fn of_own_programs(mut settings: Settings) -> Result<std::result::Result<Dump, ExitCode>> {
    if settings.ebpf == Ebpf::Off {
        let words = "no agent is running, and --ebpf off loads no programs to look into";
        return Err(WrongUsage(words.into()).into());
    }
    settings.ebpf = Ebpf::Require;
    // Another dump shall not take this one for an agent.
    settings.kernel.bpf_fs = None;
    let mut signals = Signals::listen()?.handed_on()?;
    let mut collector = collector(&settings, &say)?;
    say(&format_args!(
        "no agent is running: loading the programs for {} seconds",
        settings.sample.as_secs_f64()
    ));
    collector.collect().context(READING)?;
    if let Some(ended) = follow(&mut collector, &mut signals, settings.sample).await? {
        return Ok(Err(ended));
    }
    collector.collect().context(READING)?;
    let snapshot = collector.snapshot().ok_or_else(|| KernelPart("the programs are not loaded".into()))?;
    Ok(Ok(Dump::new(&snapshot, std::process::id(), false)))
}
