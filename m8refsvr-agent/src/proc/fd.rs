//! Open file descriptors of all kinds: files, pipes, sockets, event descriptors.

use super::{Process, Unreadable};

/// Counts the open descriptors. Since Linux 6.2 the size of the folder `fd` is their number, so that one system call is
/// enough. Older kernels have 0 there, and then the folder is listed.
pub fn count(process: &Process) -> Result<u64, Unreadable> {
    match u64::try_from(process.stat_of_fd()?.st_size) {
        Ok(size) if size > 0 => Ok(size),
        _ => list(process),
    }
}

fn list(process: &Process) -> Result<u64, Unreadable> {
    process.numbers_in("fd")?.try_fold(0, |count, descriptor| descriptor.map(|_| count + 1))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        process::{Command, Stdio},
    };

    use super::*;
    use crate::proc::Proc;

    #[test]
    fn the_size_of_the_folder_and_its_listing_agree() {
        let process = Proc::new("/proc").process(std::process::id()).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Once it answers, it has opened and closed what it needs to start, and waits.
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let of_child = Proc::new("/proc").process(child.id()).unwrap();
        let outcome = (count(&of_child), list(&of_child));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(outcome.0, outcome.1);
        assert!(outcome.0.unwrap() >= 3);
        assert!(count(&process).unwrap() >= 3);
    }

    #[test]
    fn a_process_that_has_exited_is_gone() {
        let mut child = Command::new("true").spawn().unwrap();
        let process = Proc::new("/proc").process(child.id()).unwrap();
        child.wait().unwrap();
        assert_eq!(count(&process), Err(Unreadable::Gone));
    }
}
