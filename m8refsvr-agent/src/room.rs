//! Of how many processes files are kept open from look to look.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::proc::Process;

/// Of more processes files are not kept open: each costs the kernel 9 KiB for as long as they are, and 4 µs where they
/// are opened at each look (`cargo xtask bench memory`, `cargo xtask bench look`).
const MOST: u64 = 4096;

/// Descriptors for all else: programs and maps, receivers, and the files that a look opens.
const OTHER_DESCRIPTORS: u64 = 256;

/// After a look that failed so many looks keep nothing open: what failed it may last. With so many more the room is twice
/// as large again.
const LOOKS_CLOSED: u32 = 60;

/// Room for processes.
#[derive(Debug)]
pub(crate) struct Room {
    /// As much as there is when nothing fails.
    all: usize,
    most: usize,
    left: usize,
    /// So many looks are still to keep nothing open.
    closed: u32,
    /// So many have gone well since then.
    well: u32,
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
        Self::of(usize::try_from(most).unwrap_or_default())
    }

    fn of(all: usize) -> Self {
        Self { all, most: all, left: 0, closed: 0, well: 0 }
    }

    /// A look begins, with so many processes held already.
    pub(crate) fn begin_look(&mut self, held: usize) {
        if self.closed > 0 {
            self.closed -= 1;
            self.left = 0;
            return;
        }
        self.well += 1;
        if self.well > LOOKS_CLOSED {
            self.well = 0;
            self.most = self.all.min(self.most.max(1) * 2);
        }
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

    /// A look failed, perhaps as descriptors or memory were too few: nothing is kept open for a while, and then of half
    /// as many processes.
    pub(crate) fn close(&mut self) {
        if self.closed == 0 {
            self.most /= 2;
        }
        (self.left, self.closed, self.well) = (0, LOOKS_CLOSED, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Proc;

    /// How many processes a look keeps open beside those that are held.
    fn kept(room: &mut Room, held: usize) -> usize {
        room.begin_look(held);
        let this = || Proc::new("/proc").process(std::process::id()).unwrap();
        (0..6).filter(|_| room.hold(this()).is_kept()).count()
    }

    #[test]
    fn as_many_are_kept_open_as_there_is_room_for() {
        let mut room = Room::of(4);
        assert_eq!([0, 1, 4, 5].map(|held| kept(&mut room, held)), [4, 3, 0, 0]);
    }

    #[test]
    fn after_a_look_that_failed_nothing_is_kept_open_for_a_while_and_then_half_as_much() {
        let mut room = Room::of(4);
        assert_eq!(kept(&mut room, 0), 4);
        // However many looks one after the other fail.
        room.close();
        room.close();
        for _ in 0..LOOKS_CLOSED {
            assert_eq!(kept(&mut room, 0), 0);
        }
        for _ in 0..LOOKS_CLOSED {
            assert_eq!(kept(&mut room, 0), 2);
        }
        for _ in 0..3 * LOOKS_CLOSED {
            assert_eq!(kept(&mut room, 0), 4);
        }
    }
}
