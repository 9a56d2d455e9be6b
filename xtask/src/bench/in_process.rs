//! The part of the benches that runs the agent's library in a process of its own: `m8refsvr-agent/benches`.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{build, host};

/// Builds one of them; returns how it is started.
pub(super) fn build(name: &str) -> Result<Command> {
    build::ebpf_object(false)?;
    host::step(&format!("building the bench {name}"));
    let mut cargo = host::cargo(&["bench", "--quiet", "--no-run", "--package", "m8refsvr-agent"]);
    let messages = host::output(cargo.args(["--bench", name, "--message-format", "json"]))?;
    let program =
        messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
            let is_it = message["target"]["name"] == name;
            is_it.then(|| message["executable"].as_str().map(Command::new)).flatten()
        });
    program.with_context(|| format!("cargo built no bench named {name}"))
}

/// Runs it; returns what it measured.
pub(super) fn run(command: &mut Command) -> Result<Value> {
    let line = host::output(command)?;
    serde_json::from_str(&line).with_context(|| format!("the bench said {line:?}"))
}
