//! What describes a process, beside what it is measured by.

use std::sync::{Arc, OnceLock};

/// Which attributes of processes are wanted. What is not wanted is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttributeSet {
    /// `ProcessAttributes` are not made at all.
    #[default]
    None,
    /// All but the command line, whose arguments may hold secrets.
    Standard,
    /// That too, for those who know that theirs hold none.
    WithCommandLine,
}

/// What a tracked process was when it could first be collected. It stays for as long as the process is tracked, also
/// where the process changes its user or cgroup or executes another program that matches: it identifies series, which
/// would break off. `None` is what could not be read then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessAttributes {
    /// `None` too where the parent is outside the pid namespace of that /proc.
    pub parent_pid: Option<u32>,
    /// Where it is in the process's own mount namespace, also if it was removed or replaced since.
    pub executable_path: Option<Box<str>>,
    /// `argv[0]`, without the other arguments.
    pub command: Option<Box<str>>,
    /// All arguments with a blank between them, cut off after [`COMMAND_LINE_LIMIT`] bytes.
    pub command_line: Option<Box<str>>,
    /// The real user id, as seen in the agent's user namespace.
    pub owner_uid: Option<u32>,
    /// The user's name, or the id in digits where it has none: kept here by who first asked for it.
    pub owner: OnceLock<Arc<str>>,
    /// The path of the cgroup: that of version 2, or where that is not mounted the one of the memory controller.
    pub cgroup: Option<Arc<str>>,
    /// Where the path of a cgroup tells it.
    pub container_id: Option<Box<str>>,
}

/// Bytes of a command line that are kept.
pub const COMMAND_LINE_LIMIT: usize = 4096;
