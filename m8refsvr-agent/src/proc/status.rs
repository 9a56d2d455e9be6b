//! `/proc/PID/status` and `/proc/PID/task/TID/status`: lines of a name, a colon, a tab and values. Any user may read
//! the file of any process that they see. The kernel writes the whole file whatever is read of it.

use rustix::process::Signal;

use super::{
    process::Process,
    text::{line_after, number},
    unreadable::Unreadable,
};

/// Bytes that are read: more than a process has that is in as many groups as a kernel allows (`NGROUPS_MAX`, 65,536).
const LIMIT: usize = 1 << 20;

/// Hexadecimal digits of a set of signals.
const MASK_DIGITS: usize = 16;

/// The text of the file. A value is parsed when it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a>(&'a [u8]);

impl<'a> Status<'a> {
    /// Reads the file of a process.
    pub fn read(process: &Process, buffer: &'a mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read("status", LIMIT, buffer)?;
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// Reads the file of one thread of a process.
    pub(super) fn read_thread(
        process: &Process,
        thread: u64,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Self, Unreadable> {
        process.read(&format!("task/{thread}/status"), LIMIT, buffer)?;
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// `None` for a text that was cut off within a line. A line can't be mistaken for another one: the name of a
    /// process may have any bytes, but the kernel escapes newlines in it (`proc_task_name` in `fs/proc/array.c`).
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        text.ends_with(b"\n").then_some(Self(text))
    }

    /// The real user id in the agent's user namespace: the first number of the line `Uid` (`task_state` in
    /// `fs/proc/array.c`).
    pub fn real_user(self) -> Option<u32> {
        let ids = line_after(self.0, b"Uid:\t")?;
        number(ids.split(|&byte| byte == b'\t').next()?)?.try_into().ok()
    }

    /// Whether SIGCHLD is ignored. The kernel then reaps the children itself, and adds nothing of what they used to the
    /// process.
    pub fn ignores_child_exits(self) -> Option<bool> {
        let mask = line_after(self.0, b"SigIgn:\t")?;
        // `from_str_radix` would accept a sign.
        if mask.len() != MASK_DIGITS || !mask.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mask = u64::from_str_radix(std::str::from_utf8(mask).ok()?, 16).ok()?;
        // Signal 1 is the lowest bit.
        Some(mask >> (Signal::CHILD.as_raw() - 1) & 1 == 1)
    }

    /// Voluntary and involuntary context switches of the thread: the last two lines.
    pub fn context_switches(self) -> Option<(u64, u64)> {
        let value = |name: &[u8]| {
            let line = self.0.rsplit(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name))?;
            number(line.trim_ascii())
        };
        Some((value(b"voluntary_ctxt_switches:")?, value(b"nonvoluntary_ctxt_switches:")?))
    }
}

/// [`Status::real_user`] of a process. The owner of its folder is cheaper to read, but is the effective user, and root
/// for a process that is not dumpable.
pub fn real_user(process: &Process, buffer: &mut Vec<u8>) -> Result<u32, Unreadable> {
    Status::read(process, buffer)?.real_user().ok_or(Unreadable::Unknown)
}

/// [`Status::ignores_child_exits`] of a process.
pub fn ignores_child_exits(process: &Process, buffer: &mut Vec<u8>) -> Result<bool, Unreadable> {
    Status::read(process, buffer)?.ignores_child_exits().ok_or(Unreadable::Unknown)
}

#[cfg(test)]
pub(super) mod fixtures {
    use std::{fs, path::Path};

    use crate::proc::{Proc, Process};

    /// A file that a kernel wrote.
    pub(crate) const STATUS: &str = include_str!("../../fuzz/corpus/proc_status/sleep");

    /// The same with something else in place of a line.
    pub(crate) fn status_with(name: &str, line: &[u8]) -> Vec<u8> {
        let start = STATUS.find(&format!("\n{name}:")).map_or(0, |at| at + 1);
        assert!(STATUS[start..].starts_with(name));
        let end = start + STATUS[start..].find('\n').unwrap() + 1;
        [&STATUS.as_bytes()[..start], line, &STATUS.as_bytes()[end..]].concat()
    }

    /// A process with such a file.
    pub(crate) fn process_with(root: &Path, name: &str, text: &[u8]) -> Process {
        fs::create_dir_all(root.join("7")).unwrap();
        fs::write(root.join("7").join(name), text).unwrap();
        Proc::new(root).process(7).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getuid;

    use super::{fixtures::*, *};
    use crate::proc::Proc;

    type Values = (Option<u32>, Option<bool>, Option<(u64, u64)>);

    fn values(text: &[u8]) -> Option<Values> {
        let status = Status::parse(text)?;
        Some((status.real_user(), status.ignores_child_exits(), status.context_switches()))
    }

    #[test]
    fn a_name_may_hold_anything_and_changes_nothing_else() {
        let expected = values(STATUS.as_bytes()).unwrap();
        assert_eq!((expected.0, expected.1, expected.2.is_some()), (Some(0), Some(false), true));
        for name in [&b""[..], b"a:b", b"Uid:\\n", b"\xff\xfe", b"x\r", b":\t", b"\xe2\x80", b"SigIgn:"] {
            let line = [b"Name:\t", name, b"\n"].concat();
            assert_eq!(values(&status_with("Name", &line)), Some(expected), "{name:?}");
        }
    }

    #[test]
    fn of_a_file_that_was_cut_off_no_value_is_a_wrong_one() {
        let whole = values(STATUS.as_bytes()).unwrap();
        for cut in 0..STATUS.len() {
            let text = &STATUS.as_bytes()[..cut];
            let cut_off = values(text);
            assert_eq!(cut_off.is_some(), text.ends_with(b"\n"), "{cut}");
            let Some((user, ignores, switches)) = cut_off else { continue };
            assert!(user.is_none() || user == whole.0, "{cut}");
            assert!(ignores.is_none() || ignores == whole.1, "{cut}");
            assert!(switches.is_none() || switches == whole.2, "{cut}");
        }
    }

    #[test]
    fn a_process_in_as_many_groups_as_there_can_be_is_read() {
        let groups: String = (0..65_536).map(|group| format!("{} ", u32::MAX - group)).collect();
        let root = tempfile::tempdir().unwrap();
        let text = status_with("Groups", format!("Groups:\t{groups}\n").as_bytes());
        let process = process_with(root.path(), "status", &text);
        // This line is behind the groups.
        assert_eq!(ignores_child_exits(&process, &mut Vec::new()), Ok(false));
    }

    #[test]
    fn the_first_user_of_the_line_is_the_real_one() {
        let root = tempfile::tempdir().unwrap();
        let text = status_with("Uid", b"Uid:\t1000\t0\t2\t3\n");
        let text = [b"Name:\tx\\nUid:\t1\n", &text["Name:\tsleep\n".len()..]].concat();
        let process = process_with(root.path(), "status", &text);
        assert_eq!(real_user(&process, &mut Vec::new()), Ok(1000));
    }

    #[test]
    fn a_user_that_is_cut_off_or_no_number_is_not_understood() {
        let root = tempfile::tempdir().unwrap();
        for text in
            ["", "Uid:\t100", "Uid:\t\n", "Uid:\t-1\t0\t0\t0\n", "Uid:\t4294967296\t0\t0\t0\n", "Gid:\t1\n"]
        {
            for whole in [text.into(), status_with("Uid", text.as_bytes())] {
                let process = process_with(root.path(), "status", &whole);
                assert_eq!(real_user(&process, &mut Vec::new()), Err(Unreadable::Unknown), "{text:?}");
            }
        }
    }

    #[test]
    fn sigchld_is_ignored_where_its_bit_is_set() {
        let ignores = |mask: &str| {
            let lines = format!("SigBlk:\t0000000000010000\n{mask}\n");
            Status::parse(&status_with("SigIgn", lines.as_bytes())).unwrap().ignores_child_exits()
        };
        assert_eq!(ignores("SigIgn:\t0000000000010000"), Some(true));
        assert_eq!(ignores("SigIgn:\tfffffffffffeffff"), Some(false));
        assert_eq!(ignores("SigIgn:\tFFFFFFFFFFFFFFFF"), Some(true));
        for other in [
            "",
            "SigIgn:\t",
            "SigIgn:\t10000",
            "SigIgn:\t+000000000010000",
            "SigIgn:\t000000000001000g",
            "SigIgn: 0000000000010000",
        ] {
            assert_eq!(ignores(other), None, "{other}");
        }
    }

    #[test]
    fn both_kinds_of_context_switches_are_told_apart() {
        let status = b"Name:\tx\nThreads:\t1\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        let switches = |text| Status::parse(text).and_then(Status::context_switches);
        assert_eq!(switches(status), Some((12, 3)));
        assert_eq!(switches(&status[..status.len() - 40]), None);
        assert_eq!(switches(b""), None);
    }

    #[test]
    fn the_own_process_can_be_read() {
        let process = Proc::new("/proc").process(std::process::id()).unwrap();
        assert_eq!(ignores_child_exits(&process, &mut Vec::new()), Ok(false));
        assert_eq!(real_user(&process, &mut Vec::new()), Ok(getuid().as_raw()));
    }
}
