//! A /proc: the root below which all files of processes are read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, openat, statfs};

use super::{process::Process, text::number, unreadable::Unreadable};

/// Whether a file system of type proc is mounted on this folder.
pub fn is_proc(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|it| it.f_type == PROC_SUPER_MAGIC)
}

/// The files of processes below one root.
#[derive(Debug)]
pub struct Proc {
    root: PathBuf,
}

impl Proc {
    /// `root` is usually `/proc`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder given to [`Proc::new`].
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ids of all processes.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        // An incomplete list would make the missing processes look as if they had exited: one error fails it all.
        let names = fs::read_dir(&self.root)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        let pids = names.iter().filter_map(|name| number(name.as_encoded_bytes()));
        Ok(pids.filter_map(|pid| u32::try_from(pid).ok()).collect())
    }

    /// Whether not even process 1 can be seen: /proc is mounted with `hidepid`, and the agent lacks the permission to
    /// see processes of others.
    pub fn hides_processes(&self) -> bool {
        self.root.join("self").exists() && !self.root.join("1").exists()
    }

    /// Opens the folder of a process. All that is read through it is of this process, even if it exits and another
    /// process gets its id.
    pub fn process(&self, pid: u32) -> Result<Process, Unreadable> {
        let folder = self.root.join(pid.to_string());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Process::new(pid, openat(CWD, &folder, flags, Mode::empty())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_processes() {
        let root = tempfile::tempdir().unwrap();
        for name in ["1", "22", "self", "1a", "-1", "+1", "4294967296"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let mut pids = Proc::new(root.path()).pids().unwrap();
        pids.sort_unstable();
        assert_eq!(pids, [1, 22]);
    }

    #[test]
    fn a_missing_process_is_gone() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Proc::new(root.path()).process(7).unwrap_err(), Unreadable::Gone);
    }
}
