//! `cargo xtask run`: builds the agent and prints one document, on a clean checkout too.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{build, command, demo, report};

/// The agent's exit code when no process matches.
const NO_PROCESS: i32 = 1;

pub(crate) fn run() -> Result<()> {
    let agent = build::agent()?;
    if !command::is_root() && !has_capabilities(&agent) {
        bail!(
            "the agent may not load BPF programs; allow it:\n\n    sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,\
             cap_dac_read_search+ep {}\n",
            agent.display()
        );
    }
    let status = Command::new(&agent)
        .args(["--once", "--no-export", "--ebpf", "off", "--sample", "0.01"])
        .output()
        .with_context(|| format!("cannot start {}", agent.display()))?
        .status;
    let demonstration = if status.code() == Some(NO_PROCESS) {
        report::step("no process named M8RefSvr runs: starting a small one for a demonstration");
        Some(demo::Load::start()?)
    } else {
        None
    };
    report::step("sampling for one second: m8refsvr-agent --once --no-export");
    let outcome = command::run(Command::new(&agent).args(["--once", "--no-export"]));
    drop(demonstration);
    outcome
}

fn has_capabilities(agent: &Path) -> bool {
    rustix::fs::getxattr(agent, "security.capability", &mut [0_u8; 64]).is_ok()
}
