//! `cargo xtask bench`: what is promised about cost, measured beside what it is compared with.

use anyhow::Result;
use clap::Subcommand;

use crate::{build, host};

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// What an event costs in each program: ours, an empty one, and the straightforward design
    Hooks,
}

pub(crate) fn bench(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Hooks => {
            build::ebpf_object(false)?;
            let reference = build::reference_object()?;
            host::step("measuring");
            host::run(
                host::cargo(&["bench", "--quiet", "--package", "m8refsvr-agent", "--bench", "hooks"])
                    .env("M8REFSVR_REFERENCE_OBJECT", reference),
            )
        }
    }
}
