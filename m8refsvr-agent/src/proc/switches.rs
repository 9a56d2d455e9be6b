//! Context switches as /proc shows them: thread by thread, and only of those that live.

use rustix::fs::{Dir, Mode, OFlags, openat};

use super::{Process, Unreadable, number};

/// Switches of all living threads of a process.
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
    /// Adds up `task/*/status`. A thread that ends in the meantime is left out, as if it had ended before.
    pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tasks = openat(&process.folder, "task", flags, Mode::empty())?;
        let mut sum = Self::default();
        for entry in Dir::new(tasks)? {
            let entry = entry?;
            let Some(thread) = std::str::from_utf8(entry.file_name().to_bytes())
                .ok()
                .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            else {
                continue;
            };
            match process.read(&format!("task/{thread}/status"), usize::MAX, buffer) {
                Ok(()) => {
                    let (voluntary, involuntary) = parse(buffer).ok_or(Unreadable::Unknown)?;
                    sum.voluntary += voluntary;
                    sum.involuntary += involuntary;
                    sum.threads += 1;
                }
                Err(Unreadable::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        // A process has at least one thread: without any it has just ended.
        if sum.threads == 0 { Err(Unreadable::Gone) } else { Ok(sum) }
    }
}

/// Voluntary and involuntary switches of a thread: the last two lines of its status file. Lines before them hold a name,
/// in which the kernel escapes newlines.
pub fn parse(status: &[u8]) -> Option<(u64, u64)> {
    let value = |name: &[u8]| {
        let line = status.rsplit(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name))?;
        number(line.trim_ascii())
    };
    Some((value(b"voluntary_ctxt_switches:")?, value(b"nonvoluntary_ctxt_switches:")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Proc;

    #[test]
    fn both_kinds_are_told_apart() {
        let status = b"Name:\tx\nThreads:\t1\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(parse(status), Some((12, 3)));
        assert_eq!(parse(&status[..status.len() - 40]), None);
        assert_eq!(parse(b""), None);
    }

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
