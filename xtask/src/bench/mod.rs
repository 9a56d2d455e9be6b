//! `cargo xtask bench`: what is promised about cost, measured beside what it is compared with.

mod agent;
mod agents;
mod hooks;
mod in_process;
pub(crate) mod load;
mod look;
mod memory;
mod peers;
mod process;
mod receiver;
mod start;
mod table;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::host;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// What a context switch costs with our programs, an empty one, the straightforward design, and others'
    Hooks,
    /// What a look costs, beside the least that /proc takes for the same
    Look,
    /// What a look and an export cost, beside other agents
    Agents,
    /// How long the agent takes to start, and how often it runs when there is nothing to do
    Start,
    /// What the agent keeps in memory, and what an export of many series costs
    Memory,
}

#[derive(Args)]
pub(crate) struct Bench {
    /// Which; all, unless some are named
    benches: Vec<Name>,
}

pub(crate) fn bench(bench: &Bench) -> Result<()> {
    if !host::is_root() {
        bail!(
            "the benches load programs into the kernel; this runs them:\n\n    sudo env \"PATH=$PATH\" \
             \"HOME=$HOME\" cargo xtask bench\n"
        );
    }
    let wanted = if bench.benches.is_empty() { Name::value_variants() } else { &bench.benches };
    for name in wanted {
        match name {
            Name::Hooks => hooks::hooks()?.finish()?,
            Name::Look => look::look()?.finish()?,
            Name::Agents => agents::agents()?.finish()?,
            Name::Start => start::start()?.finish()?,
            Name::Memory => memory::memory()?.finish()?,
        }
    }
    Ok(())
}
