//! Programs that others wrote, which attach programs of their own to `sched_switch`.

use std::{
    env,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use aya::programs::loaded_programs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// For one to attach its programs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Once it has loaded nothing more for so long, it has attached all.
const SETTLED: Duration = Duration::from_millis(500);

/// One, and how it is started.
pub(crate) struct Neighbour {
    pub(crate) name: String,
    command: Vec<String>,
}

impl Neighbour {
    /// Those that `cargo xtask bench hooks` found: names, and the words of their commands.
    pub(crate) fn all() -> Vec<Self> {
        let found = env::var("M8REFSVR_NEIGHBOURS").unwrap_or_else(|_| "{}".into());
        let found: serde_json::Map<String, Value> = serde_json::from_str(&found).unwrap();
        let of =
            |(name, words): (String, Value)| Self { name, command: serde_json::from_value(words).unwrap() };
        found.into_iter().map(of).collect()
    }

    /// Starts it; returns once its programs are attached, or `None` where it attaches none.
    pub(crate) fn start(&self) -> Option<Running> {
        let before = newest();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().ok()?);
        let end = Instant::now() + PATIENCE;
        let mut last = (before, Instant::now());
        while last.0 == before || last.1.elapsed() < SETTLED {
            if Instant::now() > end {
                return None;
            }
            thread::sleep(SETTLED / 10);
            if newest() != last.0 {
                last = (newest(), Instant::now());
            }
        }
        Some(running)
    }
}

/// The id of the newest program of all.
fn newest() -> u32 {
    loaded_programs().filter_map(Result::ok).map(|program| program.id()).max().unwrap_or_default()
}

/// One that runs; ends when dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It fails only when it has ended by itself.
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        let _ = self.0.wait();
    }
}
