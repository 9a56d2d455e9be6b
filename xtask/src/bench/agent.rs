//! The release agent, as the benches start it.

use std::{path::Path, process::Command};

use super::load::NAME;

/// The agent with these arguments, tracking the load. Settings in the environment have no effect.
pub(crate) fn command(agent: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(agent);
    command.env_clear().args(["--process", NAME, "--log-level", "warning"]).args(arguments);
    command
}

/// The same, with exports to this endpoint.
pub(crate) fn exporting(agent: &Path, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = command(agent, &["--protocol", "http/protobuf", "--endpoint", endpoint]);
    command.args(arguments);
    command
}
