//! `cargo xtask fuzz`: looks for input that breaks a parser of what comes from outside, target by target.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{build, host, tools};

const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// What libFuzzer is told: inputs of at most 4 KiB, of which none may take seconds or ask for much memory at once.
const LIMITS: [&str; 5] =
    ["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=64", "-print_final_stats=1"];

#[derive(Args)]
pub(crate) struct Fuzz {
    /// For each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,

    /// As in m8refsvr-agent/fuzz/fuzz_targets; without any, all of them
    targets: Vec<String>,
}

pub(crate) fn fuzz(fuzz: &Fuzz) -> Result<()> {
    let folder = host::root().join("m8refsvr-agent/fuzz");
    let known = targets(&folder)?;
    if let Some(unknown) = fuzz.targets.iter().find(|target| !known.contains(*target)) {
        bail!("there is no target {unknown}; there are {}", Vec::from_iter(known).join(", "));
    }
    if !host::has_program("c++") {
        host::install(&["g++"])?;
    }
    let version = format!("cargo-fuzz-{CARGO_FUZZ_VERSION}");
    let program = tools::built("cargo-fuzz", CARGO_FUZZ_VERSION, &version, |command| command)?;
    let lock = folder.join("Cargo.lock");
    fs::copy(host::root().join("Cargo.lock"), &lock)
        .with_context(|| format!("cannot write {}", lock.display()))?;
    let work = build::target_folder().join("fuzz");
    let chosen = known.iter().filter(|target| fuzz.targets.is_empty() || fuzz.targets.contains(target));
    for target in chosen {
        host::step(&format!("fuzzing {target} for {} seconds", fuzz.seconds));
        // What is found goes into the first of two folders.
        let found = work.join("corpus").join(target);
        fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
        host::run(
            Command::new(&program)
                .args(["run", "--fuzz-dir"])
                .arg(&folder)
                .arg("--target-dir")
                .arg(work.join("build"))
                .arg(target)
                .arg(&found)
                .arg(folder.join("corpus").join(target))
                .arg("--")
                .arg(format!("-max_total_time={}", fuzz.seconds))
                .args(LIMITS)
                // Its instrumentation is open to nightly alone, but works on every toolchain.
                .env("RUSTC_BOOTSTRAP", "1")
                .current_dir(host::root()),
        )
        .with_context(|| {
            format!(
                "{target} is broken by the input named above: mend that, and move the input to {}",
                folder.join("corpus").join(target).display()
            )
        })?;
    }
    Ok(())
}

fn targets(folder: &Path) -> Result<BTreeSet<String>> {
    let programs = folder.join("fuzz_targets");
    let entries = fs::read_dir(&programs).with_context(|| format!("cannot read {}", programs.display()))?;
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    entries
        .filter_map(|entry| entry.map(|entry| stem(&entry.path())).transpose())
        .collect::<Result<_, _>>()
        .map_err(Into::into)
}
