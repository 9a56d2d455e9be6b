//! Of how many processes files are kept open from look to look.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::proc::Process;

/// Of more processes files are not kept open.
const MOST: u64 = 4096;

/// Descriptors for all else: programs and maps, receivers, and the files that a look opens.
const OTHER_DESCRIPTORS: u64 = 256;

/// Room for processes.
#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    left: usize,
}

impl Room {
    /// As much as this process's limit of descriptors allows, which is raised as far as it may be.
    pub(crate) fn new() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let limit = if raised.is_ok() { maximum } else { current };
        // No limit is told by none.
        let descriptors = limit.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS);
        let most = MOST.min(descriptors / Process::KEPT_DESCRIPTORS);
        Self { most: usize::try_from(most).unwrap_or_default(), left: 0 }
    }

    /// A look begins, with so many processes held already.
    pub(crate) fn begin_look(&mut self, held: usize) {
        self.left = self.most.saturating_sub(held);
    }

    /// Keeps files of a process open if there is room.
    pub(crate) fn hold(&mut self, mut process: Process) -> Process {
        // What can't be opened is told by who reads it.
        if self.left > 0 && process.keep().is_ok() {
            self.left -= 1;
        }
        process
    }

    /// There are too few descriptors: nothing is kept open any more.
    pub(crate) fn close(&mut self) {
        (self.most, self.left) = (0, 0);
    }
}
