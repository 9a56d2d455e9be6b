//! Maps of a running agent under the BPF file system, where `debug dump` finds them:
//! `BPFFS/m8refsvr/PID-START-NAMESPACE/MAP`. The start of the process in clock ticks tells a dead agent's folder
//! from that of a new process with the same id, and its PID namespace what this process cannot judge.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::statfs;
use thiserror::Error;

/// `BPF_FS_MAGIC` in `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
const FOLDER: &str = "m8refsvr";

/// Why maps could not be pinned or found.
#[derive(Debug, Error)]
pub enum PinError {
    /// There is no BPF file system.
    #[error("{} is not a BPF file system: `mount -t bpf bpf {}` makes it one", path.display(), path.display())]
    NoBpfFs {
        /// Where it should be.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// aya refused.
    #[error("cannot pin {}: {reason}", path.display())]
    Pin {
        /// Where to.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// An agent that has pinned its maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedAgent {
    /// Its process id.
    pub pid: u32,
    /// Start of its process in clock ticks after boot.
    pub start_ticks: u64,
    /// Inode of its PID namespace.
    namespace: u64,
    /// The folder with its maps.
    pub folder: PathBuf,
}

impl PinnedAgent {
    /// This process.
    fn this(bpf_fs: &Path) -> io::Result<Self> {
        let pid = std::process::id();
        let start_ticks = start_of(pid).ok_or(io::ErrorKind::NotFound)?;
        let namespace = namespace()?;
        let folder = bpf_fs.join(FOLDER).join(format!("{pid}-{start_ticks}-{namespace}"));
        Ok(Self { pid, start_ticks, namespace, folder })
    }

    fn from_folder(folder: PathBuf) -> Option<Self> {
        let mut numbers = folder.file_name()?.to_str()?.splitn(3, '-').map(str::parse);
        let mut next = || numbers.next()?.ok();
        let (pid, start_ticks, namespace): (u64, u64, u64) = (next()?, next()?, next()?);
        Some(Self { pid: pid.try_into().ok()?, start_ticks, namespace, folder })
    }

    /// Whether its process is surely gone.
    fn is_dead(&self) -> bool {
        namespace().is_ok_and(|ours| ours == self.namespace) && start_of(self.pid) != Some(self.start_ticks)
    }
}

/// The pins of this process; removed when dropped.
#[derive(Debug)]
pub(crate) struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// Removes what dead agents left, makes a folder for this process, and has `pin` put each map into it.
    pub(crate) fn create(
        bpf_fs: &Path,
        names: &[&'static str],
        pin: impl Fn(&str, &Path) -> Result<(), String>,
    ) -> Result<Self, PinError> {
        // A folder of dead agents that cannot be removed belongs to another user, who will.
        for dead in all(bpf_fs)?.into_iter().filter(PinnedAgent::is_dead) {
            let _ = remove(&dead.folder);
        }
        let this = PinnedAgent::this(bpf_fs).map_err(|source| PinError::Io {
            action: "read",
            path: "/proc/self".into(),
            source,
        })?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&this.folder)
            .map_err(|source| PinError::Io { action: "create", path: this.folder.clone(), source })?;
        let pins = Self { folder: this.folder };
        for name in names {
            let path = pins.folder.join(name);
            pin(name, &path).map_err(|reason| PinError::Pin { path, reason })?;
        }
        Ok(pins)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.folder) {
            tracing::warn!("cannot remove the pinned maps in {}: {error}", self.folder.display());
        }
        // The common folder goes with the last agent.
        if let Some(common) = self.folder.parent() {
            let _ = fs::remove_dir(common);
        }
    }
}

/// The running agents that have pinned their maps, the longest-running first.
pub fn running(bpf_fs: &Path) -> Result<Vec<PinnedAgent>, PinError> {
    let mut agents = all(bpf_fs)?;
    agents.retain(|agent| !agent.is_dead());
    agents.sort_by_key(|agent| (agent.start_ticks, agent.pid));
    Ok(agents)
}

fn all(bpf_fs: &Path) -> Result<Vec<PinnedAgent>, PinError> {
    let is_bpf_fs = statfs(bpf_fs).is_ok_and(|status| status.f_type == BPF_FS_MAGIC);
    if !is_bpf_fs {
        return Err(PinError::NoBpfFs { path: bpf_fs.into() });
    }
    let folder = bpf_fs.join(FOLDER);
    match fs::read_dir(&folder) {
        Ok(entries) => Ok(entries
            .filter_map(Result::ok)
            .filter_map(|entry| PinnedAgent::from_folder(entry.path()))
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(PinError::Io { action: "read", path: folder, source }),
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    fs::remove_dir(folder)
}

fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    crate::proc::stat::Stat::parse(&stat).map(|stat| stat.start_ticks)
}

fn namespace() -> io::Result<u64> {
    fs::metadata("/proc/self/ns/pid").map(|metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_read_from_the_name_of_its_folder() {
        let agent = PinnedAgent::from_folder("/sys/fs/bpf/m8refsvr/42-1234-4026531836".into()).unwrap();
        assert_eq!((agent.pid, agent.start_ticks, agent.namespace), (42, 1234, 4_026_531_836));
        for name in ["42", "42-1", "x-1-2", "42-1-2-3", "4294967296-1-2", ""] {
            assert_eq!(PinnedAgent::from_folder(Path::new("/x").join(name)), None, "{name}");
        }
    }

    #[test]
    fn only_a_process_of_this_namespace_can_be_known_to_be_dead() {
        let this = PinnedAgent::this(Path::new("/x")).unwrap();
        assert!(!this.is_dead());
        assert!(PinnedAgent { start_ticks: this.start_ticks + 1, ..this.clone() }.is_dead());
        assert!(!PinnedAgent { start_ticks: 1, namespace: this.namespace + 1, ..this }.is_dead());
    }

    #[test]
    fn a_folder_that_is_no_bpf_file_system_is_an_error_that_says_how_to_mount_it() {
        let error = running(Path::new("/proc")).unwrap_err();
        assert!(error.to_string().contains("mount -t bpf bpf /proc"), "{error}");
    }
}
