//! The program as a user types it: exit codes, and what goes to standard output and to standard error. Needs no rights.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod earlier_plugin;
mod once;
mod readme;
mod settings;
mod usage;

use std::process::{Command, Output};

/// A name that no process has.
const NOBODY: &str = "no-process-is-called-like-this";

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m8refsvr-agent"));
    // No variable of the machine shall have a say.
    command.args(arguments).env_clear();
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = agent(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The agent with a variable, as far as its end: exit code, standard output and standard error.
fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = agent(arguments).envs(variables.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
