//! `debug dump`: what is in the maps.

use std::process::ExitCode;

use super::{Failure, json, observer, print, say, wait};
use crate::{
    cli::Ebpf,
    export::dump::Dump,
    kernel::{
        pins::{self, PinnedAgent},
        snapshot_of,
    },
    settings::Settings,
};

pub(super) async fn dump(settings: Settings, as_json: bool, agent: Option<u32>) -> Result<ExitCode, Failure> {
    let dump = match running_agent(&settings, agent)? {
        Some(agent) => Dump::new(&snapshot_of(&agent)?, agent.pid, true),
        None => match of_own_programs(settings).await? {
            Ok(dump) => dump,
            Err(ended) => return Ok(ended),
        },
    };
    print(&if as_json { json(&dump)? } else { dump.to_string() })?;
    Ok(ExitCode::SUCCESS)
}

/// The agent to look into: the one that was named, or the one that runs longest; `None` when none runs.
fn running_agent(settings: &Settings, wanted: Option<u32>) -> Result<Option<PinnedAgent>, Failure> {
    let agents = match pins::running(&settings.bpf_fs) {
        Ok(agents) => agents,
        Err(error) if wanted.is_some() => return Err(error.into()),
        Err(error) => {
            say(&format_args!("no running agent can be found: {error}"));
            Vec::new()
        }
    };
    let pids: Vec<String> = agents.iter().map(|agent| agent.pid.to_string()).collect();
    if let Some(wanted) = wanted {
        return match agents.into_iter().find(|agent| agent.pid == wanted) {
            Some(agent) => Ok(Some(agent)),
            None if pids.is_empty() => Err(Failure::Usage("no agent is running: leave out --agent".into())),
            None => Err(Failure::Usage(format!(
                "no agent {wanted} is running: give --agent one of {}",
                pids.join(", ")
            ))),
        };
    }
    if let [shown, others @ ..] = pids.as_slice()
        && !others.is_empty()
    {
        say(&format_args!(
            "several agents are running: showing {shown}; --agent shows {}",
            others.join(" or ")
        ));
    }
    Ok(agents.into_iter().next())
}

/// Loads the programs, has them count for a while, and takes what they counted; or how a signal ended it.
async fn of_own_programs(mut settings: Settings) -> Result<Result<Dump, ExitCode>, Failure> {
    if settings.ebpf == Ebpf::Off {
        return Err(Failure::Usage(
            "no agent is running, and --ebpf off loads no programs to look into".into(),
        ));
    }
    settings.ebpf = Ebpf::Require;
    let mut observer = observer(&settings)?;
    say(&format_args!(
        "no agent is running: loading the programs for {} seconds",
        settings.sample.as_secs_f64()
    ));
    let look = |error| Failure::Io { action: "read /proc", source: error };
    observer.look().map_err(look)?;
    if let Some(ended) = wait(settings.sample).await? {
        return Ok(Err(ended));
    }
    observer.look().map_err(look)?;
    let snapshot =
        observer.snapshot().ok_or_else(|| Failure::KernelPart("the programs are not loaded".into()))?;
    Ok(Ok(Dump::new(&snapshot, std::process::id(), false)))
}
