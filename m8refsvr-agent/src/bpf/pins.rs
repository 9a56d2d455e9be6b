//! Maps of a running agent under the BPF file system, where `debug dump` finds them:
//! `BPFFS/m8refsvr-UID/PID-START-NAMESPACE/MAP`. The start of the process in clock ticks tells a dead agent's folder
//! from that of a new process with the same id, and its PID namespace what this process cannot judge.
//!
//! Everybody may write to a BPF file system that was mounted without a mode. So each user has a folder of its own,
//! no link is followed, and nothing is removed but maps by their names in folders that this user made.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, mkdirat, openat, statfs, unlinkat},
    io::Errno,
    process::{Uid, geteuid},
};
use thiserror::Error;

/// `BPF_FS_MAGIC` in `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
const FOLDER: &str = "m8refsvr-";

/// Why maps could not be pinned or found.
#[derive(Debug, Error)]
pub enum PinError {
    /// There is no BPF file system.
    #[error("{} is not a BPF file system: `mount -t bpf -o mode=0700 bpf {}` makes it one", path.display(), path.display())]
    NoBpfFs {
        /// Where it should be.
        path: PathBuf,
    },
    /// Somebody else made the folder.
    #[error("{} belongs to another user, or others may write to it: remove it", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The error of the system.
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

impl PinError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Io { action, path: path.into(), source: errno.into() }
    }
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
    /// This process, with its maps below `common`.
    fn this(common: &Path) -> io::Result<Self> {
        let pid = std::process::id();
        let start_ticks = start_of(pid).ok_or(io::ErrorKind::NotFound)?;
        let namespace = namespace()?;
        let folder = common.join(format!("{pid}-{start_ticks}-{namespace}"));
        Ok(Self { pid, start_ticks, namespace, folder })
    }

    /// The agent whose maps are in a folder, by its name.
    pub fn from_folder(folder: PathBuf) -> Option<Self> {
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
    bpf_fs: PathBuf,
    folder: PathBuf,
    names: &'static [&'static str],
}

impl Pins {
    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what dead agents of this user left, makes a folder for this process, and has `pin` put each map
    /// into it.
    pub(crate) fn create(
        bpf_fs: &Path,
        names: &'static [&'static str],
        pin: impl Fn(&str, &Path) -> Result<(), String>,
    ) -> Result<Self, PinError> {
        remove_dead(bpf_fs, names)?;
        let path = folder_of(bpf_fs, geteuid());
        match mkdirat(CWD, &path, Mode::RWXU) {
            Err(errno) if errno != Errno::EXIST => return Err(PinError::io("create", &path)(errno)),
            _ => {}
        }
        let common = open_own(&path)?;
        let this = PinnedAgent::this(&path).map_err(|source| PinError::Io {
            action: "read",
            path: "/proc/self".into(),
            source,
        })?;
        let name = this.folder.file_name().unwrap_or_default();
        mkdirat(&common, name, Mode::RWXU).map_err(PinError::io("create", &this.folder))?;
        let pins = Self { bpf_fs: bpf_fs.into(), folder: this.folder, names };
        for name in names {
            let path = pins.folder.join(name);
            pin(name, &path).map_err(|reason| PinError::Pin { path, reason })?;
        }
        Ok(pins)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.bpf_fs, &self.folder, self.names) {
            tracing::warn!("the pinned maps stay until the next agent starts: {error}");
        }
    }
}

/// The running agents that have pinned their maps, the longest-running first: those of this user, and for root
/// those of all users.
pub fn running(bpf_fs: &Path) -> Result<Vec<PinnedAgent>, PinError> {
    check(bpf_fs)?;
    let user = geteuid();
    let entries = fs::read_dir(bpf_fs).map_err(|source| PinError::Io {
        action: "read",
        path: bpf_fs.into(),
        source,
    })?;
    let mut agents = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.parse().ok()) else {
            continue;
        };
        let owner = Uid::from_raw(owner);
        if user.is_root() || owner == user {
            // One that does not belong to its user is not believed.
            agents.extend(
                open(&entry.path(), owner)
                    .and_then(|folder| list(&folder, &entry.path()))
                    .unwrap_or_default(),
            );
        }
    }
    agents.retain(|agent| !agent.is_dead());
    agents.sort_by_key(|agent| (agent.start_ticks, agent.pid));
    Ok(agents)
}

/// Removes what dead agents of this user left of the maps with these names.
pub(crate) fn remove_dead(bpf_fs: &Path, names: &[&str]) -> Result<(), PinError> {
    check(bpf_fs)?;
    let path = folder_of(bpf_fs, geteuid());
    let folder = match open_own(&path) {
        Ok(folder) => folder,
        Err(PinError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for dead in list(&folder, &path)?.into_iter().filter(PinnedAgent::is_dead) {
        remove(bpf_fs, &dead.folder, names)?;
    }
    Ok(())
}

fn check(bpf_fs: &Path) -> Result<(), PinError> {
    if statfs(bpf_fs).is_ok_and(|status| status.f_type == BPF_FS_MAGIC) {
        return Ok(());
    }
    Err(PinError::NoBpfFs { path: bpf_fs.into() })
}

/// Where the agents of a user have their folders.
fn folder_of(bpf_fs: &Path, user: Uid) -> PathBuf {
    bpf_fs.join(format!("{FOLDER}{}", user.as_raw()))
}

fn open_own(path: &Path) -> Result<OwnedFd, PinError> {
    open(path, geteuid())
}

/// Opens a folder that belongs to a user, and to which nobody else may write.
fn open(path: &Path, owner: Uid) -> Result<OwnedFd, PinError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match openat(CWD, path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::LOOP | Errno::NOTDIR) => return Err(PinError::NotOurs { path: path.into() }),
        Err(errno) => return Err(PinError::io("open", path)(errno)),
    };
    let status = fstat(&folder).map_err(PinError::io("read", path))?;
    let others_write = Mode::from_raw_mode(status.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    if status.st_uid != owner.as_raw() || others_write {
        return Err(PinError::NotOurs { path: path.into() });
    }
    Ok(folder)
}

/// The agents with a folder in `folder`, which is at `path`.
fn list(folder: &OwnedFd, path: &Path) -> Result<Vec<PinnedAgent>, PinError> {
    let entries = Dir::read_from(folder.as_fd()).map_err(PinError::io("read", path))?;
    Ok(entries
        .filter_map(|entry| PinnedAgent::from_folder(path.join(entry.ok()?.file_name().to_str().ok()?)))
        .collect())
}

/// Removes the maps with these names, the folder that they are in, and with the last agent the user's folder.
fn remove(bpf_fs: &Path, folder: &Path, names: &[&str]) -> Result<(), PinError> {
    let path = folder_of(bpf_fs, geteuid());
    let common = open_own(&path)?;
    let name = folder.file_name().unwrap_or_default();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let maps = openat(&common, name, flags, Mode::empty()).map_err(PinError::io("open", folder))?;
    for map in names {
        match unlinkat(&maps, *map, AtFlags::empty()) {
            // Pinning may have ended half-way.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(PinError::io("remove", &folder.join(map))(errno)),
        }
    }
    unlinkat(&common, name, AtFlags::REMOVEDIR).map_err(PinError::io("remove", folder))?;
    // Refused as long as there are other agents.
    let _ = unlinkat(CWD, &path, AtFlags::REMOVEDIR);
    Ok(())
}

/// Start of a living process.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    crate::proc::stat::Stat::parse(&stat).filter(|stat| !stat.is_zombie()).map(|stat| stat.start_ticks)
}

fn namespace() -> io::Result<u64> {
    fs::metadata("/proc/self/ns/pid").map(|metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_read_from_the_name_of_its_folder() {
        let agent = PinnedAgent::from_folder("/sys/fs/bpf/m8refsvr-0/42-1234-4026531836".into()).unwrap();
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
        assert!(error.to_string().contains("mount -t bpf -o mode=0700 bpf /proc"), "{error}");
    }
}
