//! `cargo xtask bench`: what is promised about cost, measured beside what it is compared with. A file for each bench;
//! `load` is what they look at, `table` what comes of them, `ratios` what it is held against.

mod agent;
mod agents;
mod cargo_bench;
mod hooks;
pub(crate) mod load;
mod look;
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

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// What a look costs, beside what reading the same files takes
    Look,
    /// What a look and an export cost, beside other agents
    Agents,
    /// What a context switch costs with our programs, an empty one, the straightforward design, and others'
    Hooks,
    /// How long the agent takes to start, and how often it runs when there is nothing to do
    Start,
    /// What the agent keeps in memory, and what an export of many series costs
    Memory,
}

impl Name {
    fn measure(self) -> Result<Table> {
        match self {
            Self::Look => look::look(),
            Self::Agents => agents::agents(),
            Self::Hooks => hooks::hooks(),
            Self::Start => start::start(),
            Self::Memory => memory::memory(),
        }
    }

    /// Its own name, and what it is about.
    fn subject(self) -> (&'static str, &'static str) {
        match self {
            Self::Look => ("look", "A look"),
            Self::Agents => ("agents", "Beside other agents"),
            Self::Hooks => ("hooks", "A context switch"),
            Self::Start => ("start", "Starting, and having nothing to do"),
            Self::Memory => ("memory", "Memory, and an export of many series"),
        }
    }
}

impl Name {
    /// What is to be known of its figures, in the page about them.
    fn about(self) -> &'static str {
        match self {
            Self::Look => {
                "The processes do nothing between two looks, unless a row says otherwise; of these the agent reads \
                 memory, threads and descriptors alone. Each way is measured after passes in which the processor's \
                 caches settle; where all threads have run they have not. A process costs /proc more where there are \
                 more of them, as less of what it needs is in those caches. A BPF iterator over tasks visits all of \
                 the machine, whatever matches, and its 12 words have neither memory nor descriptors: where processes \
                 have many threads it costs more than /proc, where few match too, and so the agent has none.\n\n"
            }
            Self::Agents => "The processes do nothing between two scrapes.\n\n",
            _ => "",
        }
    }
}

#[derive(Args)]
pub(crate) struct Bench {
    /// Which; all, unless some are named
    benches: Vec<Name>,
    /// Take the newest figures of all benches for what is to be expected: docs/performance.json and docs/performance.md
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
        bail!("worse than in docs/performance.json, which --accept would write anew: {}", worse.len());
    }
    Ok(())
}
