//! What one running process costs, from /proc.

use std::{
    fs,
    io::Write as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::load;

/// A process that is measured. Told to end when this is dropped, and when this program ends in whatever way.
pub(crate) struct Measured {
    child: Child,
}

impl Measured {
    /// Starts it with a log of its own below the folder of the benches.
    pub(crate) fn start(command: &Command, log: &str) -> Result<Self> {
        let path = load::folder().join(log);
        let file = || fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()));
        let program = command.get_program();
        let mut bound = Command::new("setpriv");
        bound.env_clear();
        bound.args(["--pdeathsig", "TERM", "--"]).arg(program).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                bound.env(name, value);
            }
        }
        // Its input stays open: some end with it.
        bound.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file()?);
        let child = bound.spawn().with_context(|| format!("cannot start {}", program.to_string_lossy()))?;
        Ok(Self { child })
    }

    /// Whether it still runs; its output is in its log.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(self.threads()?.iter().map(|(_, cpu)| *cpu).sum())
    }

    /// CPU time of all its threads but the first.
    pub(crate) fn cpu_of_others(&self) -> Result<Duration> {
        let first = self.child.id();
        Ok(self.threads()?.iter().filter(|(id, _)| *id != first).map(|(_, cpu)| *cpu).sum())
    }

    /// CPU time by thread. That of threads that have ended is lost; none of those that are measured ends any.
    fn threads(&self) -> Result<Vec<(u32, Duration)>> {
        self.tasks()?
            .into_iter()
            .map(|id| {
                let text = self.read(&format!("task/{id}/schedstat"))?;
                let time = text.split(' ').next().and_then(|time| time.parse().ok());
                Ok((id, Duration::from_nanos(time.context("schedstat has no time")?)))
            })
            .collect()
    }

    /// Context switches of all its threads: how often it ran.
    pub(crate) fn switches(&self) -> Result<u64> {
        let of_thread = |id: u32| -> Result<u64> {
            let status = self.read(&format!("task/{id}/status"))?;
            Ok(["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
                .iter()
                .filter_map(|name| number(&status, name))
                .sum())
        };
        self.tasks()?.into_iter().map(of_thread).sum()
    }

    /// Resident memory and its parts, bytes.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = self.read("status")?;
        let rollup = self.read("smaps_rollup")?;
        let bytes = |text: &str, name: &str| {
            number(text, name).map(|kibibytes| kibibytes << 10).with_context(|| format!("there is no {name}"))
        };
        Ok(Memory {
            resident: bytes(&status, "VmRSS:")?,
            anonymous: bytes(&status, "RssAnon:")?,
            of_files: bytes(&status, "RssFile:")?,
            peak: bytes(&status, "VmHWM:")?,
            proportional: bytes(&rollup, "Pss:")?,
        })
    }

    fn tasks(&self) -> Result<Vec<u32>> {
        let folder = format!("/proc/{}/task", self.child.id());
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // Each fails only when it has ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.stdin.take().map(|mut stdin| stdin.flush());
        let _ = self.child.wait();
    }
}

/// Resident memory of a process, bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
    pub(crate) of_files: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
    /// With what is shared counted in part.
    pub(crate) proportional: u64,
}

/// The number after a name at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
