//! Context switches as /proc shows them: of each thread, and only while it lives.

use super::{process::Process, status::Status, unreadable::Unreadable};

/// Context switches of all living threads of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadSwitches {
    /// A thread began to wait.
    pub voluntary: u64,
    /// A thread was preempted or yielded.
    pub involuntary: u64,
    /// Threads that were read.
    pub threads: usize,
}

impl ThreadSwitches {
    /// Adds up `task/*/status`. A thread that exits meanwhile is left out, as if it had exited before.
    pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        let mut sum = Self::default();
        for thread in process.numbers_in("task")? {
            match Status::read_thread(process, thread?, buffer) {
                Ok(status) => {
                    let (voluntary, involuntary) = status.context_switches().ok_or(Unreadable::Unknown)?;
                    sum.voluntary += voluntary;
                    sum.involuntary += involuntary;
                    sum.threads += 1;
                }
                Err(Unreadable::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        // A process has at least one thread: without any it has just exited.
        if sum.threads == 0 { Err(Unreadable::Gone) } else { Ok(sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Proc;

    #[test]
    fn threads_are_added_up_and_those_that_end_meanwhile_left_out() {
        let root = tempfile::tempdir().unwrap();
        for (thread, voluntary) in [("7", 10), ("8", 20)] {
            let folder = root.path().join("7/task").join(thread);
            std::fs::create_dir_all(&folder).unwrap();
            let status =
                format!("Name:\tx\nvoluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t1\n");
            std::fs::write(folder.join("status"), status).unwrap();
        }
        std::fs::create_dir_all(root.path().join("7/task/9")).unwrap();
        let process = Proc::new(root.path()).process(7).unwrap();
        let sum = ThreadSwitches::read(&process, &mut Vec::new()).unwrap();
        assert_eq!(sum, ThreadSwitches { voluntary: 30, involuntary: 2, threads: 2 });
    }
}
