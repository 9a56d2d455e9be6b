//! The agent as users start it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::server::{self, PATIENCE};

/// The agent with these arguments, and no variable of the machine's.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m8refsvr-agent"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    command
}

/// Runs the agent to its end: its exit code, and its standard error.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String) {
    code_and_errors(&command(arguments).output().unwrap())
}

/// The exit code of a program, and its standard error.
pub(crate) fn code_and_errors(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A running agent, whose log goes to a file; it ends when dropped.
pub(crate) struct Agent {
    process: Child,
    log: PathBuf,
    _folder: TempDir,
}

impl Agent {
    /// Starts it, logging at `debug`.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts it with variables.
    pub(crate) fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = command(arguments);
        command.args(["--log-level", "debug", "--log-file"]).arg(&log).envs(variables.iter().copied());
        let process = command.spawn().unwrap();
        Self { process, log, _folder: folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log_path(&self) -> &Path {
        &self.log
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How many lines of its log contain a text.
    pub(crate) fn lines_with(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until so many lines of its log contain a text.
    pub(crate) fn wait_for(&self, text: &str, times: usize) {
        server::wait_for(
            &format!("{text:?} {times} times in the agent's log"),
            || (self.lines_with(text) >= times).then_some(()),
            || self.log(),
        );
    }

    /// As [`Self::wait_for`], for what takes minutes.
    pub(crate) fn wait_for_long(&self, text: &str, times: usize) {
        let end = Instant::now() + Duration::from_secs(600);
        while self.lines_with(text) < times {
            assert!(Instant::now() < end, "waited for {text:?} {times} times: {}", self.log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// How many collections it made.
    pub(crate) fn collections(&self) -> usize {
        self.lines_with("processes in ")
    }

    /// Waits for so many more collections.
    pub(crate) fn wait_for_collections(&self, more: usize) {
        self.wait_for("processes in ", self.collections() + more);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for its end: its exit code, and how long that took.
    pub(crate) fn wait(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return (status.code(), start.elapsed());
            }
            assert!(start.elapsed() < PATIENCE, "the agent does not end: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
