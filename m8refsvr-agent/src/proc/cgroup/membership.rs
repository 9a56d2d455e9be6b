//! `/proc/PID/cgroup`: in which cgroups a process is.
//!
//! The procfs crate parses the file. It would refuse all of it for one byte that is not UTF-8, and removes a carriage
//! return at the end of a path. So it gets the text with both escaped.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    sync::Arc,
};

use procfs::{FromBufRead as _, ProcessCGroups};

use super::controller::{Controller, Hierarchy};
use crate::proc::{
    process::Process,
    text::{escape, unescape},
    unreadable::Unreadable,
};

/// Bytes of the file that are read: enough for a path of `PATH_MAX` in each of the hierarchies that the controllers can
/// make up.
const FILE_LIMIT: usize = 1 << 16;
/// `PATH_MAX`: a longer path is ignored, so that no text leads to more cgroups than a kernel can nest.
const PATH_LIMIT: usize = 4096;

/// The cgroups of a process. Processes in the same cgroups can share one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership(Arc<Paths>);

/// Paths of cgroups, which may have any bytes but newlines.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Paths {
    unified: Option<OsString>,
    pids: Option<OsString>,
    memory: Option<OsString>,
}

impl Membership {
    /// Reads the file. For a process whose leader thread has exited, pass [`Process::living_thread`]: version 1 shows
    /// the root cgroup for an exited thread (`proc_cgroup_show`).
    pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read("cgroup", FILE_LIMIT, buffer)?;
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// `None` where the final newline is missing: the last path would be that of a cgroup above.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if !text.is_empty() && !text.ends_with(b"\n") {
            return None;
        }
        let text = escape(text, |byte| byte.is_ascii() && !matches!(byte, b'\\' | b'\r'));
        let ProcessCGroups(cgroups) = ProcessCGroups::from_buf_read(text.as_bytes()).ok()?;
        let unified = cgroups.iter().find(|it| it.hierarchy == 0 && it.controllers.is_empty());
        let legacy = |controller: Controller| {
            let has = |names: &[String]| names.iter().any(|name| name == controller.name());
            cgroups.iter().find(|it| has(&it.controllers)).map(|it| unescape(&it.pathname))
        };
        Some(Self(Arc::new(Paths {
            unified: unified.map(|it| unescape(&it.pathname)),
            pids: legacy(Controller::Pids),
            memory: legacy(Controller::Memory),
        })))
    }

    /// The hierarchy that has a controller, and the path in it. A controller that version 1 has is not in version 2.
    pub(super) fn path_of(&self, controller: Controller) -> Option<(Hierarchy, &Path)> {
        let Paths { unified, pids, memory } = &*self.0;
        let legacy = match controller {
            Controller::Pids => pids,
            Controller::Memory => memory,
        };
        let (hierarchy, path) = match legacy {
            Some(path) => (Hierarchy::Legacy(controller), path),
            None => (Hierarchy::Unified, unified.as_ref()?),
        };
        (path.len() <= PATH_LIMIT).then_some((hierarchy, Path::new(path)))
    }

    /// The path that describes the process: that of version 2, or without version 2 the one of the memory controller.
    pub fn path(&self) -> Option<&OsStr> {
        self.paths().next()
    }

    /// That path, and where both versions are mounted also the one of the memory controller: a container runtime may
    /// use version 1 alone.
    pub fn paths(&self) -> impl Iterator<Item = &OsStr> {
        let Paths { unified, memory, .. } = &*self.0;
        let paths = [unified.as_deref(), memory.as_deref()].into_iter().flatten();
        paths.filter(|path| path.len() <= PATH_LIMIT)
    }
}
