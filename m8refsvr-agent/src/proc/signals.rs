//! What a process does with signals, as `/proc/PID/status` shows it.

use rustix::process::Signal;

use super::{Process, Unreadable, status};

/// Whether the process ignores the ends of its children: the kernel then waits for them itself, and adds nothing of what
/// they had to the process.
pub fn ignores_child_ends(process: &Process, buffer: &mut Vec<u8>) -> Result<bool, Unreadable> {
    // The first signal is the lowest bit.
    Ok(status::read(process, buffer)?.sigign >> (Signal::CHILD.as_raw() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::{
        Proc,
        status::fixtures::{process_with, status_with},
    };

    #[test]
    fn the_bit_of_one_signal_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let ignores = |mask: &str| {
            let lines = format!("SigBlk:\t0000000000010000\n{mask}\n");
            let text = status_with("SigIgn", lines.as_bytes());
            ignores_child_ends(&process_with(root.path(), "status", &text), &mut Vec::new()).ok()
        };
        assert_eq!(ignores("SigIgn:\t0000000000010000"), Some(true));
        assert_eq!(ignores("SigIgn:\tfffffffffffeffff"), Some(false));
        assert_eq!(ignores("SigIgn:\tFFFFFFFFFFFFFFFF"), Some(true));
        for other in
            ["", "SigIgn:\t", "SigIgn:\t10000", "SigIgn:\t000000000001000g", "SigIgn: 0000000000010000"]
        {
            assert_eq!(ignores(other), None, "{other}");
        }
    }

    #[test]
    fn the_own_process_can_be_read() {
        let process = Proc::new("/proc").process(std::process::id()).unwrap();
        assert_eq!(ignores_child_ends(&process, &mut Vec::new()), Ok(false));
    }
}
