//! `/proc/PID/status`, of which little is asked, and seldom: the procfs crate takes it apart. Any user may read it of any
//! process that it sees. The kernel writes the whole file whatever is read of it.

use procfs::process::Status;

use super::{Process, Unreadable, parsed};

/// Bytes that are read: of a process in as many groups as a kernel allows (`NGROUPS_MAX`, 65,536), and more.
const LIMIT: usize = 1 << 20;

/// Reads it.
pub(super) fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Status, Unreadable> {
    process.read("status", LIMIT, buffer)?;
    parse(buffer).ok_or(Unreadable::Unknown)
}

/// Takes the lines apart. The name may have any bytes; the kernel escapes newlines in it (`proc_task_name` in
/// `fs/proc/array.c`).
pub fn parse(text: &[u8]) -> Option<Status> {
    // procfs takes a mask of any length for one.
    let mut lines = text.split(|&byte| byte == b'\n');
    let mask = lines.find_map(|line| line.strip_prefix(b"SigIgn:\t"))?;
    if mask.len() == 16 { parsed(text) } else { None }
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
    use super::{fixtures::*, *};

    #[test]
    fn a_name_may_hold_anything_and_changes_nothing_else() {
        for name in [&b""[..], b"a:b", b"Uid:\\n", b"\xff\xfe", b"x\r", b":\t", b"\xe2\x80", b"SigIgn:"] {
            let line = [b"Name:\t", name, b"\n"].concat();
            let status = parse(&status_with("Name", &line)).unwrap();
            assert_eq!((status.ruid, status.sigign, status.threads), (0, 0, 1), "{name:?}");
        }
    }

    #[test]
    fn a_file_that_was_cut_off_is_not_understood() {
        for cut in 0..STATUS.len() {
            let is_line = STATUS.as_bytes()[..cut].ends_with(b"\n");
            assert!(is_line || parse(&STATUS.as_bytes()[..cut]).is_none(), "{cut}");
        }
        assert!(parse(STATUS.as_bytes()).is_some());
    }

    #[test]
    fn a_process_in_as_many_groups_as_there_can_be_is_read() {
        let groups: String = (0..65_536).map(|group| format!("{} ", u32::MAX - group)).collect();
        let root = tempfile::tempdir().unwrap();
        let text = status_with("Groups", format!("Groups:\t{groups}\n").as_bytes());
        let process = process_with(root.path(), "status", &text);
        assert_eq!(read(&process, &mut Vec::new()).map(|status| status.groups.len()), Ok(65_536));
    }
}
