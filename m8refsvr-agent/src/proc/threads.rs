//! Threads that stand for a process whose leader thread has exited.

use super::{process::Process, stat::Stat};

impl Process {
    /// A thread that has not exited, whose files are read as if they were the process's. For a process whose leader
    /// thread has exited: of that one the kernel shows neither the executable nor the memory.
    pub fn living_thread(&self, buffer: &mut Vec<u8>) -> Option<Self> {
        self.numbers_in("task").ok()?.flatten().find_map(|id| {
            let thread = self.thread(id).ok()?;
            let stat = Stat::read(&thread, buffer).ok()?;
            (!matches!(stat.state, b'Z' | b'X')).then_some(thread)
        })
    }
}
