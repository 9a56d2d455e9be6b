//! The part of the benches that runs the agent's library in a process of its own: `m8refsvr-agent/benches/look.rs`.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{build, host};

/// Builds it; returns how it is started.
pub(super) fn build() -> Result<Command> {
    build::ebpf_object(false)?;
    let mut cargo = host::cargo(&["bench", "--quiet", "--no-run", "--package", "m8refsvr-agent"]);
    let messages = host::output(cargo.args(["--bench", "look", "--message-format", "json"]))?;
    let program =
        messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
            (message["target"]["name"] == "look")
                .then(|| message["executable"].as_str().map(Command::new))
                .flatten()
        });
    program.context("cargo built no bench named look")
}

/// Runs it with these arguments; returns what it measured.
pub(super) fn run(program: &Command, arguments: &[&str]) -> Result<Value> {
    let line = host::output(Command::new(program.get_program()).args(arguments))?;
    serde_json::from_str(&line).with_context(|| format!("the bench said {line:?}"))
}
