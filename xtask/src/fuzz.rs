//! `cargo xtask fuzz`: runs the fuzz targets of the parsers, one after another.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    command,
    deps::{apt, cargo_tools},
    files, paths, report,
};

const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// libFuzzer's limits for one input: 4 KiB, 10 seconds, and 64 MiB in one allocation.
const LIMITS: [&str; 5] =
    ["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=64", "-print_final_stats=1"];

#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long to fuzz each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,

    /// Targets in m8refsvr-agent/fuzz/fuzz_targets [default: all]
    targets: Vec<String>,
}

pub(crate) fn fuzz(fuzz: &Fuzz) -> Result<()> {
    let folder = paths::root().join("m8refsvr-agent/fuzz");
    let targets = files::entries(&folder.join("fuzz_targets"))?;
    let known: BTreeSet<String> = targets
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect();
    if let Some(unknown) = fuzz.targets.iter().find(|target| !known.contains(*target)) {
        bail!("there is no target {unknown}; the targets are {}", Vec::from_iter(known).join(", "));
    }
    apt::install_programs(&[("c++", "g++")])?;
    let program = cargo_tools::install("cargo-fuzz", CARGO_FUZZ_VERSION)?;
    let programs = folder.join("fuzz_targets");
    files::copy(&paths::root().join("Cargo.lock"), &programs.join("Cargo.lock"))?;
    let work = paths::target().join("fuzz");
    let chosen = known.iter().filter(|target| fuzz.targets.is_empty() || fuzz.targets.contains(target));
    for target in chosen {
        report::step(&format!("fuzzing {target} for {} seconds", fuzz.seconds));
        // libFuzzer reads both corpus folders, and writes new inputs into the first.
        let new_inputs = work.join("corpus").join(target);
        let corpus = folder.join("corpus").join(target);
        files::create_folder(&new_inputs)?;
        command::run(
            Command::new(&program)
                .args(["run", "--fuzz-dir"])
                .arg(&programs)
                .arg("--target-dir")
                .arg(work.join("build"))
                .arg(target)
                .arg(&new_inputs)
                .arg(&corpus)
                .arg("--")
                .arg(format!("-max_total_time={}", fuzz.seconds))
                .args(LIMITS)
                // The instrumentation is unstable, but works with stable toolchains too.
                .env("RUSTC_BOOTSTRAP", "1")
                .current_dir(paths::root()),
        )
        .with_context(|| {
            format!(
                "{target} fails on the input named above: fix that, and move the input to {}",
                corpus.display()
            )
        })?;
    }
    Ok(())
}
