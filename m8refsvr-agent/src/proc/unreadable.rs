//! Why a value of a process could not be read.

use rustix::io::Errno;

/// Why a value of a process could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreadable {
    /// The process has exited.
    Gone,
    /// The agent lacks the permission.
    Denied,
    /// The agent has no file descriptors or memory left.
    Exhausted,
    /// The text is not understood, or the kernel does not have the file.
    Unknown,
}

impl From<Errno> for Unreadable {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::SRCH => Self::Gone,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Self::Exhausted,
            _ => Self::Unknown,
        }
    }
}
