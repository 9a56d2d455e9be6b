//! The demonstration load of `cargo xtask run`, under the name M8RefSvr.

use std::{fs, io::Read as _, process::Child, process::Stdio};

use anyhow::{Context as _, Result};
use m8refsvr_test_support::load::Programs;

use crate::paths;

const NAME: &str = "M8RefSvr";
/// One thread computes a third of the time, one waits often, one writes to the disk. It ends with its standard input,
/// or after two minutes.
const SCRIPT: [&str; 10] = [
    "repeat",
    "spin 10 sleep 20",
    "repeat",
    "sleep 1",
    "repeat",
    "write-synced 1048576 sleep 100",
    "exit-after",
    "120000",
    "ready",
    "wait-input",
];

/// A running demonstration load; ends when dropped.
pub(crate) struct Load {
    process: Child,
    /// Removed in the end.
    _programs: Programs,
}

impl Load {
    pub(crate) fn start() -> Result<Self> {
        let folder = paths::target();
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let programs = Programs::new_in(&folder, &[NAME])
            .with_context(|| format!("cannot make a program in {}", folder.display()))?;
        let mut process = programs
            .command(NAME, SCRIPT)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the demonstration load")?;
        // It prints a byte once it works: before that it may not even have its name.
        let mut ready = [0; 1];
        if let Some(output) = &mut process.stdout {
            output.read_exact(&mut ready).context("the demonstration load did not start")?;
        }
        Ok(Self { process, _programs: programs })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
