//! How many files of processes are kept open from look to look.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::proc::Process;

/// Descriptors for files that are kept open, at most: of 4,096 processes at rest, or of 2,730 that run. Each costs the
/// kernel memory for as long as it is open, and time where it is opened at each collection (`cargo xtask bench memory`,
/// `cargo xtask bench collection`); all of them together are 40 MiB, which a service must be allowed.
const MOST: usize = 16_384;

/// Descriptors for all else: programs and maps, receivers, and the files that a collection opens.
const OTHER_DESCRIPTORS: u64 = 256;

/// After a collection that failed so many looks keep nothing open: what failed it may last. With so many more the room is twice
/// as large again.
const COLLECTIONS_CLOSED: u32 = 60;

/// Room for processes, in descriptors.
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
        Self::of(usize::try_from(descriptors).unwrap_or(usize::MAX).min(MOST))
    }

    fn of(all: usize) -> Self {
        Self { all, most: all, left: 0, closed: 0, well: 0 }
    }

    /// A collection begins, with these processes held already.
    pub(crate) fn begin_collection<'a>(&mut self, held: impl Iterator<Item = &'a Process>) {
        if self.closed > 0 {
            self.closed -= 1;
            self.left = 0;
            return;
        }
        self.well += 1;
        if self.well > COLLECTIONS_CLOSED {
            self.well = 0;
            self.most = self.all.min(self.most.max(1) * 2);
        }
        self.left = self.most.saturating_sub(held.map(Process::kept_descriptors).sum());
    }

    /// Keeps files of a process open if there is room.
    pub(crate) fn hold(&mut self, mut process: Process) -> Process {
        // What can't be opened is told by who reads it.
        if self.left >= Process::KEPT_DESCRIPTORS && process.keep().is_ok() {
            self.left -= Process::KEPT_DESCRIPTORS;
        }
        process
    }

    /// Keeps files of a process open that it did not need while it was at rest, if there is room.
    pub(crate) fn wake(&mut self, process: &mut Process) {
        if process.is_idle() && self.left >= Process::ACTIVE_DESCRIPTORS {
            process.set_active();
            self.left -= Process::ACTIVE_DESCRIPTORS;
        }
    }

    /// A collection failed, perhaps as descriptors or memory were too few: nothing is kept open for a while, and then of half
    /// as many processes.
    pub(crate) fn close(&mut self) {
        if self.closed == 0 {
            self.most /= 2;
        }
        (self.left, self.closed, self.well) = (0, COLLECTIONS_CLOSED, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Proc;

    fn this() -> Process {
        Proc::new("/proc").process(std::process::id()).unwrap()
    }

    fn kept_process() -> Process {
        let mut process = this();
        process.keep().unwrap();
        process
    }

    fn room_for(processes: usize) -> Room {
        Room::of(processes * Process::KEPT_DESCRIPTORS)
    }

    /// How many processes a collection keeps open beside those that are held.
    fn kept(room: &mut Room, held: &[Process]) -> usize {
        room.begin_collection(held.iter());
        (0..6).filter(|_| room.hold(this()).is_kept()).count()
    }

    #[test]
    fn as_many_are_kept_open_as_there_is_room_for() {
        let mut room = room_for(4);
        let mut held = Vec::new();
        for expected in [4, 3, 2, 1, 0, 0] {
            assert_eq!(kept(&mut room, &held), expected);
            held.push(kept_process());
        }
    }

    #[test]
    fn those_at_rest_need_less_room_and_wake_where_there_is_some() {
        let mut room = room_for(4);
        let mut held: Vec<Process> = (0..3).map(|_| kept_process()).collect();
        held.iter_mut().for_each(Process::set_idle);
        assert_eq!(kept(&mut room, &held), 2);
        held.push(kept_process());
        room.begin_collection(held.iter());
        assert!(room.hold(this()).is_kept());
        held.iter_mut().for_each(|process| room.wake(process));
        assert_eq!(held.iter().filter(|process| process.is_idle()).count(), 3, "there is no room left");
        room.begin_collection(held.iter());
        held.iter_mut().for_each(|process| room.wake(process));
        assert_eq!(held.iter().filter(|process| process.is_idle()).count(), 0);
    }

    #[test]
    fn after_a_look_that_failed_nothing_is_kept_open_for_a_while_and_then_half_as_much() {
        let mut room = room_for(4);
        assert_eq!(kept(&mut room, &[]), 4);
        // However many looks one after the other fail.
        room.close();
        room.close();
        for _ in 0..COLLECTIONS_CLOSED {
            assert_eq!(kept(&mut room, &[]), 0);
        }
        for _ in 0..COLLECTIONS_CLOSED {
            assert_eq!(kept(&mut room, &[]), 2);
        }
        for _ in 0..3 * COLLECTIONS_CLOSED {
            assert_eq!(kept(&mut room, &[]), 4);
        }
    }
}
