//! The attributes that describe a process, beside its measurements.

use std::sync::{Arc, OnceLock};

/// Which attributes are wanted. Others are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttributeSet {
    /// None at all.
    #[default]
    None,
    /// All but the command line, whose arguments may hold secrets.
    Standard,
    /// The command line too.
    WithCommandLine,
}

/// Attributes of a tracked process, read once, at the first collection that could read them. They stay the same while
/// the process is tracked, even if it changes its user or cgroup, or executes another program that matches: they
/// identify series, and a change would break these off. `None` is what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessAttributes {
    /// `None` also for a parent outside the PID namespace of that /proc.
    pub parent_pid: Option<u32>,
    /// The path in the process's mount namespace, even if the file was removed or replaced since.
    pub executable_path: Option<Box<str>>,
    /// `argv[0]`, without the other arguments.
    pub command: Option<Box<str>>,
    /// All arguments, joined by blanks and cut off after [`COMMAND_LINE_LIMIT`] bytes.
    pub command_line: Option<Box<str>>,
    /// The real user id in the agent's user namespace.
    pub owner_uid: Option<u32>,
    /// The user's name, or the id in digits where it has none. Set by the exporter when it is first needed.
    pub owner: OnceLock<Arc<str>>,
    /// The path of the cgroup: that of version 2, or without version 2 the one of the memory controller.
    pub cgroup: Option<Arc<str>>,
    /// `None` also where no path of a cgroup contains one.
    pub container_id: Option<Box<str>>,
}

/// Bytes of a command line that are kept.
pub const COMMAND_LINE_LIMIT: usize = 4096;
