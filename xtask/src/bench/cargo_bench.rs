//! The benches in `m8refsvr-agent/benches`, which run the agent's library in a process of its own.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{build, command, report};

/// Builds a bench; returns the command that runs it.
pub(super) fn build(name: &str) -> Result<Command> {
    build::ebpf_object(false)?;
    report::step(&format!("building the bench {name}"));
    let mut cargo = command::cargo(&["bench", "--quiet", "--package", "m8refsvr-agent", "--bench", name]);
    let built = build::executables(&mut cargo)?;
    built.get(name).map(Command::new).with_context(|| format!("cargo did not build the bench {name}"))
}

/// Runs a bench; returns the JSON that it prints.
pub(super) fn run(command: &mut Command) -> Result<Value> {
    let line = command::output(command)?;
    serde_json::from_str(&line).with_context(|| format!("the bench did not print JSON: {line:?}"))
}
