//! The names of a process, and the program that it executes.

use super::{
    Process, Unreadable,
    process_attributes::{AttributeSet, COMMAND_LINE_LIMIT},
};

/// Bytes of the command line that are read. `PATH_MAX`, the longest path that the kernel can execute, is as long.
const CMDLINE_LIMIT: usize = COMMAND_LINE_LIMIT;
/// Bytes of a name that fit into `comm`: `TASK_COMM_LEN` without the final zero.
const COMM_LENGTH: usize = 15;
/// The kernel adds this to the link of an executable that was removed or replaced.
const DELETED: &[u8] = b" (deleted)";

/// `exe` and `cmdline` of a process. To read `cmdline` waits for a thread that holds the lock of the process's memory
/// map, which can take seconds: so both are read once for all uses.
pub struct ProgramFiles<'a> {
    /// The target of the link `exe`.
    link: Result<Vec<u8>, Unreadable>,
    /// The beginning of `cmdline`.
    cmdline: Result<&'a [u8], Unreadable>,
    /// Whether the link ends with ` (deleted)` and the file has a name all the same.
    is_named_deleted: bool,
}

impl<'a> ProgramFiles<'a> {
    /// Reads both. An error is kept for the callers of the other functions.
    pub fn read(process: &Process, buffer: &'a mut Vec<u8>) -> Self {
        let link = process.read_exe();
        let is_marked = link.as_ref().is_ok_and(|link| link.ends_with(DELETED));
        let cmdline = process.read("cmdline", CMDLINE_LIMIT, buffer).map(|()| buffer.as_slice());
        Self { is_named_deleted: is_marked && process.exe_has_name(), link, cmdline }
    }

    /// The names of a process with this `comm`.
    pub fn names(&self, comm: &[u8]) -> Names {
        let names = Names::new(comm, self.link.as_deref().ok(), self.cmdline.ok());
        Names { executable_deleted: names.executable_deleted.filter(|_| self.is_named_deleted), ..names }
    }

    /// How the program was called. An error where the agent had no file descriptors or memory left.
    pub fn invocation(&self, set: AttributeSet) -> Result<Invocation, Unreadable> {
        let unreadable = [self.link.as_ref().err(), self.cmdline.as_ref().err()];
        if unreadable.contains(&Some(&Unreadable::Exhausted)) {
            return Err(Unreadable::Exhausted);
        }
        Ok(Invocation::new(self.link.as_deref().ok(), self.cmdline.ok(), set))
    }
}

/// The program that a process executes, and how it was called, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// `None` without the permission to read it.
    pub executable_path: Option<Box<str>>,
    /// `argv[0]`, which a program may overwrite with anything.
    pub command: Option<Box<str>>,
    /// All arguments, if they are wanted.
    pub command_line: Option<Box<str>>,
}

impl Invocation {
    /// From the target of the link `exe`, and the start of `cmdline`.
    pub fn new(executable: Option<&[u8]>, cmdline: Option<&[u8]>, set: AttributeSet) -> Self {
        let path = executable.map(|path| path.strip_suffix(DELETED).unwrap_or(path));
        let command = cmdline.and_then(|cmdline| cmdline.split(|&byte| byte == 0).next());
        let command_line = cmdline.filter(|_| set == AttributeSet::WithCommandLine).map(|cmdline| {
            // A program that overwrites its arguments with a title may leave many zeros behind it.
            let end = cmdline.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            cmdline[..end].iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect::<Vec<u8>>()
        });
        Self {
            executable_path: path.map(|path| String::from_utf8_lossy(path).into()),
            command: command.filter(|command| !command.is_empty()).map(text),
            command_line: command_line.filter(|line| !line.is_empty()).map(|line| text(&line)),
        }
    }
}

/// The start of a command line as text. A character that was cut in two at the end is left out.
fn text(bytes: &[u8]) -> Box<str> {
    let start = bytes.iter().rposition(|byte| byte & 0xc0 != 0x80).filter(|_| bytes.len() >= CMDLINE_LIMIT);
    let (whole, last) = bytes.split_at(start.unwrap_or(bytes.len()));
    let is_cut = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    let mut text = String::from_utf8_lossy(if is_cut { whole } else { bytes }).into_owned();
    text.truncate(text.floor_char_boundary(COMMAND_LINE_LIMIT));
    text.into()
}

/// The names of a process: file names without folders, bytes of any kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// From `stat`.
    pub comm: Vec<u8>,
    /// File name of the executable; `None` without the permission to read it.
    pub executable: Option<Vec<u8>>,
    /// The same with ` (deleted)` at its end, where the kernel shows that and the file was not removed: it is named so.
    pub executable_deleted: Option<Vec<u8>>,
    /// File name in `argv[0]`; `None` where there is none, or where a title replaced it.
    pub argv0: Option<Vec<u8>>,
}

impl Names {
    /// From the target of the link `exe`, and the start of `cmdline`.
    pub fn new(comm: &[u8], executable: Option<&[u8]>, cmdline: Option<&[u8]>) -> Self {
        let path = executable.map(|link| link.strip_suffix(DELETED).unwrap_or(link));
        let argv0 = cmdline.and_then(|cmdline| {
            let argv0 = cmdline.split(|&byte| byte == 0).next().filter(|argv0| !is_title(argv0, path))?;
            Some(file_name(argv0).to_vec()).filter(|name| !name.is_empty())
        });
        let is_deleted = |link: &&[u8]| link.ends_with(DELETED);
        Self {
            comm: comm.to_vec(),
            executable: path.map(|path| file_name(path).to_vec()),
            executable_deleted: executable.filter(is_deleted).map(|link| file_name(link).to_vec()),
            argv0,
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        [Some(&self.comm), self.executable.as_ref(), self.executable_deleted.as_ref(), self.argv0.as_ref()]
            .into_iter()
            .flatten()
            .map(Vec::as_slice)
    }

    /// The name to show: `comm`, or where the kernel cut that off the whole name.
    pub fn shown(&self) -> String {
        // A process may have set its `comm` to nothing.
        let is_incomplete = self.comm.is_empty() || self.comm.len() == COMM_LENGTH;
        let longer = [&self.executable, &self.argv0]
            .into_iter()
            .flatten()
            .find(|name| is_incomplete && name.starts_with(&self.comm));
        String::from_utf8_lossy(longer.unwrap_or(&self.comm)).into_owned()
    }
}

/// Whether a process has replaced its arguments by a title, as `sshd: user [priv]`: text with a blank or a colon that
/// is not the path of its executable. A title can contain anything that others choose, such as names of users.
fn is_title(argv0: &[u8], executable: Option<&[u8]>) -> bool {
    argv0.iter().any(|byte| b" :".contains(byte)) && executable != Some(argv0)
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
        let process = Proc::new(root.path()).process(7).unwrap();
        ProgramFiles::read(&process, &mut Vec::new()).names(comm.as_bytes())
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
    fn a_title_is_no_name_unless_it_is_the_path_of_the_executable() {
        let argv0 = |executable: &str, argv0: &str| {
            let cmdline = [argv0.as_bytes(), b"\0x\0"].concat();
            names("x", executable, &cmdline).argv0.map(|name| String::from_utf8(name).unwrap())
        };
        for title in [
            "sshd: m8refsvr [priv]",
            "sshd: m8refsvr@pts/0",
            "nginx: master process /opt/M8RefSvr",
            "postgres: m8refsvr db 10.0.0.1(4711) idle",
            "M8RefSvr: waiting",
            "(sd-pam) M8RefSvr",
        ] {
            assert_eq!(argv0("/usr/sbin/daemon", title), None, "{title}");
        }
        let path = "/opt/My Strategy/M8: Server";
        assert_eq!(argv0(path, path).as_deref(), Some("M8: Server"));
        assert_eq!(argv0(&format!("{path} (deleted)"), path).as_deref(), Some("M8: Server"));
        assert_eq!(argv0("/usr/bin/bash", "-bash").as_deref(), Some("-bash"));
    }

    #[test]
    fn a_file_that_is_really_named_as_a_deleted_one_has_both_names() {
        let folder = tempfile::tempdir().unwrap();
        let executable = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            names("x", path.to_str().unwrap(), b"")
        };
        let of = |names: &Names| names.all().skip(1).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(of(&executable("app (deleted)")), [&b"app"[..], b"app (deleted)"]);
        assert_eq!(of(&executable("app")), [b"app"]);
        // There is no such file.
        assert_eq!(of(&names("x", "/opt/app (deleted)", b"")), [b"app"]);
    }

    #[test]
    fn an_empty_command_line_has_no_name() {
        assert_eq!(names("x", "/y", b"").argv0, None);
        assert_eq!(names("x", "/y", b"/opt/\0").argv0, None);
    }

    #[test]
    fn an_endless_first_argument_is_read_up_to_a_limit() {
        let argv0 = names("x", "/y", &[b'a'; 1 << 20]).argv0.unwrap();
        assert_eq!(argv0.len(), CMDLINE_LIMIT);
    }

    fn invocation(executable: &[u8], cmdline: &[u8]) -> Invocation {
        Invocation::new(Some(executable), Some(cmdline), AttributeSet::WithCommandLine)
    }

    #[test]
    fn the_command_line_is_there_only_if_it_is_wanted() {
        let Invocation { executable_path, command, command_line } =
            Invocation::new(None, Some(b"x\0secret\0"), AttributeSet::Standard);
        assert_eq!((executable_path, command.as_deref(), command_line), (None, Some("x"), None));
        assert_eq!(invocation(b"/x", b"x\0secret\0").command_line.as_deref(), Some("x secret"));
    }

    #[test]
    fn a_path_keeps_its_folders_and_loses_what_the_kernel_added() {
        assert_eq!(invocation(b"/opt/a b (deleted)", b"").executable_path.as_deref(), Some("/opt/a b"));
        assert_eq!(invocation(b"/\xff", b"").executable_path.as_deref(), Some("/\u{fffd}"));
    }

    #[test]
    fn zeros_at_the_end_are_no_arguments_and_nothing_is_no_command() {
        let called = invocation(b"/x", b"nginx: worker process\0\0\0");
        assert_eq!(called.command.as_deref(), Some("nginx: worker process"));
        assert_eq!(called.command_line, called.command);
        for nothing in [&b""[..], b"\0", b"\0\0"] {
            let called = invocation(b"/x", nothing);
            assert_eq!((called.command, called.command_line), (None, None));
        }
        assert_eq!(invocation(b"/x", b"\0a\0").command, None);
    }

    #[test]
    fn a_command_line_ends_with_a_character_within_the_limit() {
        let cut = |start: &str, bytes: &[u8]| {
            let mut line = start.as_bytes().to_vec();
            line.extend(bytes.iter().cycle().take(CMDLINE_LIMIT - line.len()));
            let called = invocation(b"/x", &line);
            assert_eq!(called.command, called.command_line);
            called.command_line.unwrap()
        };
        for character in ['\u{20ac}', '\u{1f600}'] {
            for start in ["", "a", "ab", "abc"] {
                let line = cut(start, character.to_string().as_bytes());
                let missing = CMDLINE_LIMIT.checked_sub(line.len());
                assert!(missing.is_some_and(|missing| missing < character.len_utf8()), "{missing:?}");
                assert!(line[start.len()..].chars().all(|it| it == character));
            }
        }
        // Each byte that is no text becomes a character of three.
        let line = cut("", b"\xff");
        assert_eq!((line.len(), line.chars().count()), (4095, 1365));
        assert_eq!(cut("", b"a").len(), CMDLINE_LIMIT);
        // Nothing is missing of one that was not cut off.
        assert_eq!(invocation(b"/x", b"a\xe2\x82").command.as_deref(), Some("a\u{fffd}"));
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
