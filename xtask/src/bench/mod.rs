//! `cargo xtask bench`: measures the cost of the agent and of what it is compared with, and compares the ratios with
//! those that were accepted. Each bench is a file. `load` starts the processes, `table` has the results, `ratios` the
//! accepted ratios.

mod agent;
mod agents;
mod cargo_bench;
mod collection;
mod hooks;
mod load;
mod memory;
mod peers;
mod process;
mod ratios;
mod receiver;
mod start;
mod table;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::{command, report};
use table::Table;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// CPU time of a collection, compared with reading the same files
    Collection,
    /// CPU time and memory of the agent, compared with other agents
    Agents,
    /// Cost of a context switch with the agent's BPF programs, compared with other programs and tools
    Hooks,
    /// Time from the start to the first export, and context switches of an idle agent
    Start,
    /// Resident memory of the agent, and CPU time of an export with many series
    Memory,
}

impl Name {
    fn measure(self) -> Result<Table> {
        match self {
            Self::Collection => collection::collection(),
            Self::Agents => agents::agents(),
            Self::Hooks => hooks::hooks(),
            Self::Start => start::start(),
            Self::Memory => memory::memory(),
        }
    }

    /// The name of the bench, and its heading in docs/performance.md.
    fn subject(self) -> (&'static str, &'static str) {
        match self {
            Self::Collection => ("collection", "A collection"),
            Self::Agents => ("agents", "Compared with other agents"),
            Self::Hooks => ("hooks", "A context switch"),
            Self::Start => ("start", "Start, and an idle agent"),
            Self::Memory => ("memory", "Memory, and an export with many series"),
        }
    }

    /// How to read the results, in docs/performance.md.
    fn about(self) -> &'static str {
        match self {
            Self::Collection => {
                "The processes are idle between two collections unless a row says otherwise. Of an idle process the \
                 agent reads only memory, threads and descriptors. Each row is measured with warm processor caches, \
                 except those after threads have run. A process costs more where there are more of them, as the caches \
                 hold less of what /proc needs. A BPF iterator over tasks visits all tasks of the machine, and its 12 \
                 words have neither memory nor descriptors. It costs more than /proc where processes have many threads \
                 or few of them match, so the agent has none.\n\n"
            }
            Self::Agents => "The processes are idle between two scrapes.\n\n",
            _ => "",
        }
    }
}

#[derive(Args)]
pub(crate) struct Bench {
    /// Benches to run [default: all]
    benches: Vec<Name>,
    /// Accept the newest results of all benches: write docs/performance.json and docs/performance.md
    #[arg(long)]
    accept: bool,
}

pub(crate) fn bench(bench: &Bench) -> Result<()> {
    command::require_root("the benches load BPF programs into the kernel", "bench")?;
    let wanted = if bench.benches.is_empty() { Name::value_variants() } else { &bench.benches };
    let mut worse = Vec::new();
    for name in wanted {
        let (file, subject) = name.subject();
        report::step(subject);
        let document = name.measure()?.finish(file)?;
        worse.extend(ratios::worse(file, &document)?);
    }
    worse.iter().for_each(|sentence| report::line(sentence));
    if bench.accept {
        let named = Name::value_variants().iter().map(|name| (name.subject(), name.about()));
        return ratios::accept(named);
    }
    if !worse.is_empty() {
        bail!("{} ratios are worse than in docs/performance.json; --accept accepts them", worse.len());
    }
    Ok(())
}
