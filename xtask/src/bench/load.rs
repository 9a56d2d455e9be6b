//! The processes that the benches monitor. They do nothing, and end when what started them does.

use std::{
    fmt, fs,
    io::{PipeWriter, Read as _},
    path::{Path, PathBuf},
    process::Child,
};

use anyhow::{Context as _, Result, bail};
use m8refsvr_test_support::load::Programs;

use crate::paths;

/// The name of those that match. It is short enough for `comm` to be all of it.
pub(crate) const NAME: &str = "M8RefSvr_bench";
/// The name of the others.
const OTHER: &str = "bench_other";

/// What a process of the load has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) threads: usize,
    /// Open file descriptors, its three standard ones among them.
    pub(crate) files: usize,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(f, "{} {threads} and {} descriptors each", self.threads, self.files)
    }
}

/// As small as a process is.
pub(crate) const SMALL: Kind = Kind { threads: 1, files: 7 };
/// As a server is.
pub(crate) const LARGE: Kind = Kind { threads: 16, files: 63 };

/// Running processes; they end when this is dropped, and when this process ends in whatever way.
pub(crate) struct Load {
    processes: Vec<Child>,
    /// Their standard input, which they all wait for.
    alive: Option<PipeWriter>,
    /// Removed in the end.
    programs: Programs,
}

impl Load {
    /// Starts so many that match, and others until there are `all` processes on the machine.
    pub(crate) fn start(matching: usize, all: usize, kind: Kind) -> Result<Self> {
        let running = running()?;
        let others = all.saturating_sub(matching + running);
        enough_ids((matching + others) * kind.threads)?;
        let (stdin, alive) = std::io::pipe().context("cannot make a pipe")?;
        let (mut ready, stdout) = std::io::pipe().context("cannot make a pipe")?;
        let folder = folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let programs =
            Programs::new_in(&folder, &[NAME, OTHER]).context("cannot make the load's programs")?;
        let mut load =
            Self { processes: Vec::with_capacity(matching + others), alive: Some(alive), programs };
        let (threads, files) = (kind.threads - 1, kind.files - 3);
        let script = format!("threads {threads} open-files {files} ready wait-input");
        for (name, count) in [(NAME, matching), (OTHER, others)] {
            for _ in 0..count {
                let mut command = load.programs.command(name, script.split(' '));
                command.stdin(stdin.try_clone().context("cannot share a pipe")?);
                command.stdout(stdout.try_clone().context("cannot share a pipe")?);
                load.processes.push(command.spawn().with_context(|| format!("cannot start {name}"))?);
            }
        }
        drop(stdout);
        ready.read_exact(&mut vec![0; load.processes.len()]).context("the load did not start")?;
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.alive.take());
        for process in &mut self.processes {
            // It fails only for one that is waited for already.
            let _ = process.wait();
        }
    }
}

/// Where what the benches need and write is.
pub(crate) fn folder() -> PathBuf {
    paths::target().join("bench")
}

/// The processes that run on this machine.
pub(crate) fn running() -> Result<usize> {
    let is_process =
        |name: &Path| name.as_os_str().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
    let entries = fs::read_dir("/proc").context("cannot read /proc")?;
    Ok(entries.flatten().filter(|entry| is_process(Path::new(&entry.file_name()))).count())
}

/// Says so where the machine has not so many ids of threads.
fn enough_ids(threads: usize) -> Result<()> {
    for limit in ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"] {
        let text = fs::read_to_string(limit).with_context(|| format!("cannot read {limit}"))?;
        let most: usize = text.trim().parse().with_context(|| format!("{limit} has no number"))?;
        // A few hundred are for all others.
        if threads + 1000 > most {
            bail!("{threads} threads are too many for this machine: {limit} is {most}");
        }
    }
    Ok(())
}
