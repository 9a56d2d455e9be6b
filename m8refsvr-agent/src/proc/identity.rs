//! The names by which a process is known.

use rustix::fs::readlinkat;

use super::Process;

/// Bytes of argv[0] that are looked at: the longest path that the kernel can execute.
const ARGV0_LIMIT: usize = 4096;
/// Bytes of a name that the kernel keeps in `comm`.
const COMM_LENGTH: usize = 15;
/// What the kernel adds to the link of an executable that was removed or replaced.
const DELETED: &[u8] = b" (deleted)";

/// The names of a process: file names without folders, bytes of any kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// As in `/proc/PID/stat`.
    pub comm: Vec<u8>,
    /// File name of the executable; `None` without the right to know it.
    pub executable: Option<Vec<u8>>,
    /// File name in argv[0]; `None` when there is none.
    pub argv0: Option<Vec<u8>>,
}

impl Names {
    /// Reads what is to be read.
    pub fn read(process: &Process, comm: &[u8], buffer: &mut Vec<u8>) -> Self {
        let link = readlinkat(&process.folder, "exe", Vec::new()).ok();
        let cmdline = process.read("cmdline", ARGV0_LIMIT, buffer).ok().map(|()| buffer.as_slice());
        Self::new(comm, link.as_ref().map(|link| link.as_bytes()), cmdline)
    }

    /// From the path that `/proc/PID/exe` leads to, and the beginning of `/proc/PID/cmdline`.
    pub fn new(comm: &[u8], executable: Option<&[u8]>, cmdline: Option<&[u8]>) -> Self {
        let executable =
            executable.map(|path| file_name(path.strip_suffix(DELETED).unwrap_or(path)).to_vec());
        let argv0 = cmdline.and_then(|cmdline| {
            let argv0 = cmdline.split(|&byte| byte == 0).next()?;
            Some(file_name(argv0).to_vec()).filter(|name| !name.is_empty())
        });
        Self { comm: comm.to_vec(), executable, argv0 }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        [Some(&self.comm), self.executable.as_ref(), self.argv0.as_ref()]
            .into_iter()
            .flatten()
            .map(Vec::as_slice)
    }

    /// The name to show: `comm`, or the longer name that it is the beginning of.
    pub fn shown(&self) -> String {
        // A process may have taken its name away.
        let is_incomplete = self.comm.is_empty() || self.comm.len() == COMM_LENGTH;
        let longer = [&self.executable, &self.argv0]
            .into_iter()
            .flatten()
            .find(|name| is_incomplete && name.starts_with(&self.comm));
        String::from_utf8_lossy(longer.unwrap_or(&self.comm)).into_owned()
    }
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::proc::Proc;

    fn names(comm: &str, executable: &str, cmdline: &[u8]) -> Names {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("7");
        std::fs::create_dir(&folder).unwrap();
        symlink(executable, folder.join("exe")).unwrap();
        std::fs::write(folder.join("cmdline"), cmdline).unwrap();
        Names::read(&Proc::new(root.path()).process(7).unwrap(), comm.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn names_are_file_names_without_folders() {
        let names = names("M8RefSvr", "/opt/M8/bin/M8RefSvr_64", b"./bin/M8RefSvr\0-x\0/var/log/a\0");
        assert_eq!(names.executable.as_deref(), Some(&b"M8RefSvr_64"[..]));
        assert_eq!(names.argv0.as_deref(), Some(&b"M8RefSvr"[..]));
        assert_eq!(names.all().count(), 3);
    }

    #[test]
    fn an_executable_that_was_replaced_keeps_its_name() {
        assert_eq!(names("x", "/opt/M8RefSvr (deleted)", b"").executable.as_deref(), Some(&b"M8RefSvr"[..]));
    }

    #[test]
    fn an_empty_command_line_has_no_name() {
        assert_eq!(names("x", "/y", b"").argv0, None);
        assert_eq!(names("x", "/y", b"/opt/\0").argv0, None);
    }

    #[test]
    fn an_endless_first_argument_is_read_up_to_a_limit() {
        let argv0 = names("x", "/y", &[b'a'; 1 << 20]).argv0.unwrap();
        assert_eq!(argv0.len(), ARGV0_LIMIT);
    }

    #[test]
    fn a_name_that_the_kernel_cut_is_shown_whole() {
        let long = "M8RefSvr_Production_64";
        assert_eq!(names(&long[..15], &format!("/opt/{long}"), b"").shown(), long);
        assert_eq!(names(&long[..15], "/usr/bin/java", long.as_bytes()).shown(), long);
        assert_eq!(names("M8RefSvr", "/opt/M8RefSvr_64", b"").shown(), "M8RefSvr");
        assert_eq!(names("", "/opt/M8RefSvr_64", b"").shown(), "M8RefSvr_64");
    }
}
