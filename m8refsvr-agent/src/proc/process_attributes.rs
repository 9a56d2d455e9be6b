//! The attributes that describe a process, beside its measurements. They are read once, and only if they are wanted.

use std::sync::{Arc, OnceLock};

use super::{
    Process, Unreadable,
    cgroup::Membership,
    container,
    identity::{Invocation, ProgramFiles},
    stat::Stat,
    status::real_user,
};

/// Which attributes are wanted. Others are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttributeSet {
    /// None at all.
    #[default]
    None,
    /// All but the command line, whose arguments may hold secrets.
    Standard,
    /// The command line too.
    WithCommandLine,
}

/// Attributes of a tracked process, read once, at the first collection that could read them. They stay the same while
/// the process is tracked, even if it changes its user or cgroup, or executes another program that matches: they
/// identify series, and a change would break these off. `None` is what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessAttributes {
    /// `None` also for a parent outside the PID namespace of that /proc.
    pub parent_pid: Option<u32>,
    /// The path in the process's mount namespace, even if the file was removed or replaced since.
    pub executable_path: Option<Box<str>>,
    /// `argv[0]`, without the other arguments.
    pub command: Option<Box<str>>,
    /// All arguments, joined by blanks and cut off after [`COMMAND_LINE_LIMIT`] bytes.
    pub command_line: Option<Box<str>>,
    /// The real user id in the agent's user namespace.
    pub owner_uid: Option<u32>,
    /// The user's name, or the id in digits where it has none. Set by the exporter when it is first needed.
    pub owner: OnceLock<Arc<str>>,
    /// The path of the cgroup: that of version 2, or without version 2 the one of the memory controller.
    pub cgroup: Option<Arc<str>>,
    /// `None` also where no path of a cgroup contains one.
    pub container_id: Option<Box<str>>,
}

/// Bytes of a command line that are kept.
pub const COMMAND_LINE_LIMIT: usize = 4096;

impl ProcessAttributes {
    /// `stat` is the process's. `invocation` is what was already read of its program, if it was.
    ///
    /// An error where the process has exited, or the agent has no file descriptors or memory left. All else that can't
    /// be read is `None`.
    pub fn read(
        process: &Process,
        stat: &Stat,
        invocation: Option<Invocation>,
        set: AttributeSet,
        buffer: &mut Vec<u8>,
    ) -> Result<Self, Unreadable> {
        // Of a leader thread that has exited the kernel shows no executable, and no cgroup of version 1.
        let thread = if stat.has_no_leader() { process.living_thread(buffer) } else { None };
        let by = thread.as_ref().unwrap_or(process);
        let Invocation { executable_path, command, command_line } = match invocation {
            Some(invocation) => invocation,
            None => ProgramFiles::read(by, buffer).invocation(set)?,
        };
        let membership = unless_exhausted(Membership::read(by, buffer))?;
        let path = membership.as_ref().and_then(Membership::path);
        let container_id = membership.as_ref().and_then(|it| it.paths().find_map(container::id));
        // Last: that this file is missing means that the process has exited. Of the others a kernel may have none.
        let owner_uid = match real_user(process, buffer) {
            Err(Unreadable::Gone) => return Err(Unreadable::Gone),
            owner => unless_exhausted(owner)?,
        };
        Ok(Self {
            parent_pid: u32::try_from(stat.parent).ok().filter(|&parent| parent != 0),
            executable_path,
            command,
            command_line,
            owner_uid,
            owner: OnceLock::new(),
            container_id: container_id.map(Into::into),
            cgroup: path.map(|path| path.to_string_lossy().into()),
        })
    }
}

fn unless_exhausted<T>(read: Result<T, Unreadable>) -> Result<Option<T>, Unreadable> {
    match read {
        Err(Unreadable::Exhausted) => Err(Unreadable::Exhausted),
        read => Ok(read.ok()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::PathBuf};

    use super::*;
    use crate::proc::{Proc, status::fixtures::status_with};

    const ID: &str = "0b1c2d3e4f5061728394a5b6c7d8e9f00b1c2d3e4f5061728394a5b6c7d8e9f0";

    /// A process in a folder.
    struct Machine {
        root: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let machine = Self { root: tempfile::tempdir().unwrap() };
            machine.write("7/stat", b"7 (M8RefSvr) S 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 2 0 9 0 0\n");
            machine.write("7/cmdline", b"/opt/M8/bin/M8RefSvr\0-x\0\0--password\0secret word\0");
            machine.write("7/cgroup", format!("0::/system.slice/docker-{ID}.scope\n").as_bytes());
            machine.write("7/status", &status_with("Uid", b"Uid:\t1000\t0\t0\t0\n"));
            symlink("/opt/M8/bin/M8RefSvr_64 (deleted)", machine.path("7/exe")).unwrap();
            machine
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn write(&self, path: &str, text: &[u8]) {
            fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            fs::write(self.path(path), text).unwrap();
        }

        fn read(&self, set: AttributeSet) -> Result<ProcessAttributes, Unreadable> {
            let process = Proc::new(self.root.path()).process(7).unwrap();
            let mut buffer = Vec::new();
            let stat = Stat::read(&process, &mut buffer).unwrap();
            ProcessAttributes::read(&process, &stat, None, set, &mut buffer)
        }
    }

    fn whole() -> ProcessAttributes {
        ProcessAttributes {
            parent_pid: Some(3),
            executable_path: Some("/opt/M8/bin/M8RefSvr_64".into()),
            command: Some("/opt/M8/bin/M8RefSvr".into()),
            command_line: None,
            owner_uid: Some(1000),
            owner: OnceLock::new(),
            cgroup: Some(format!("/system.slice/docker-{ID}.scope").into()),
            container_id: Some(ID.into()),
        }
    }

    #[test]
    fn a_process_is_described_without_its_arguments_unless_they_are_asked_for() {
        let machine = Machine::new();
        assert_eq!(machine.read(AttributeSet::Standard), Ok(whole()));
        let line = "/opt/M8/bin/M8RefSvr -x  --password secret word";
        let with = ProcessAttributes { command_line: Some(line.into()), ..whole() };
        assert_eq!(machine.read(AttributeSet::WithCommandLine), Ok(with));
    }

    #[test]
    fn what_can_not_be_read_is_absent_alone_and_without_status_the_process_has_exited() {
        let machine = Machine::new();
        fs::remove_file(machine.path("7/exe")).unwrap();
        let expected = ProcessAttributes { executable_path: None, ..whole() };
        assert_eq!(machine.read(AttributeSet::Standard), Ok(expected.clone()));
        machine.write("7/cmdline", b"");
        let expected = ProcessAttributes { command: None, ..expected };
        assert_eq!(machine.read(AttributeSet::WithCommandLine), Ok(expected.clone()));
        // As where a kernel has no cgroups.
        fs::remove_file(machine.path("7/cgroup")).unwrap();
        let expected = ProcessAttributes { cgroup: None, container_id: None, ..expected };
        assert_eq!(machine.read(AttributeSet::Standard), Ok(expected.clone()));
        machine.write("7/status", b"Uid:\t1000");
        let expected = ProcessAttributes { owner_uid: None, ..expected };
        assert_eq!(machine.read(AttributeSet::Standard), Ok(expected));
        fs::remove_file(machine.path("7/status")).unwrap();
        assert_eq!(machine.read(AttributeSet::Standard), Err(Unreadable::Gone));
    }

    #[test]
    fn of_version_1_the_cgroup_of_the_memory_controller_counts() {
        let machine = Machine::new();
        for (text, expected) in [
            ("9:name=systemd:/s\n8:cpu,pids:/p\n4:memory:/m\n", Some("/m")),
            ("4:memory:/m\n0::/u\n", Some("/u")),
            ("4:memory:/m\n0::/\n", Some("/")),
            ("4:pids:/p\n0::/\n", Some("/")),
            ("4:pids:/p\n", None),
            ("0::/cut", None),
        ] {
            machine.write("7/cgroup", text.as_bytes());
            let cgroup = machine.read(AttributeSet::Standard).unwrap().cgroup;
            assert_eq!(cgroup.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_container_is_known_by_either_version_of_cgroups() {
        let machine = Machine::new();
        for (text, is_known) in [
            (format!("4:memory:/docker/{ID}\n"), true),
            (format!("4:memory:/docker/{ID}\n0::/system.slice/containerd.service\n"), true),
            (format!("4:memory:/\n0::/docker/{ID}\n"), true),
            ("4:memory:/\n0::/\n".into(), false),
        ] {
            machine.write("7/cgroup", text.as_bytes());
            let id = machine.read(AttributeSet::Standard).unwrap().container_id;
            assert_eq!(id.as_deref(), is_known.then_some(ID), "{text}");
        }
    }

    #[test]
    fn another_thread_stands_for_a_leader_that_has_exited() {
        let machine = Machine::new();
        machine.write("7/stat", b"7 (M8RefSvr) Z 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 2 0 9 0 0\n");
        machine.write("7/task/8/stat", b"8 (M8RefSvr) S 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 2 0 9 0 0\n");
        for file in ["cmdline", "cgroup"] {
            fs::rename(machine.path(&format!("7/{file}")), machine.path(&format!("7/task/8/{file}")))
                .unwrap();
        }
        symlink("/opt/M8/bin/M8RefSvr_64", machine.path("7/task/8/exe")).unwrap();
        fs::remove_file(machine.path("7/exe")).unwrap();
        assert_eq!(machine.read(AttributeSet::Standard), Ok(whole()));
    }

    /// The files are read once more by other means, and parsed in another way.
    #[test]
    fn five_real_processes_are_described_as_proc_has_them() {
        let programs =
            [("sleep", &["60"][..]), ("cat", &[]), ("sh", &["-c", "read it; exit"]), ("tail", &["-f"])];
        let mut children: Vec<_> = programs
            .iter()
            .map(|(program, arguments)| {
                let piped = std::process::Stdio::piped;
                let mut command = std::process::Command::new(program);
                command.args(*arguments).stdin(piped()).stdout(piped()).spawn().unwrap()
            })
            .collect();
        let pids: Vec<u32> =
            children.iter().map(std::process::Child::id).chain([std::process::id()]).collect();
        let mut described = BTreeMap::new();
        for &pid in &pids {
            // The parent goes on a moment before the kernel has set the arguments.
            while fs::read(format!("/proc/{pid}/cmdline")).unwrap().is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let process = Proc::new("/proc").process(pid).unwrap();
            let mut buffer = Vec::new();
            let stat = Stat::read(&process, &mut buffer).unwrap();
            let set = AttributeSet::WithCommandLine;
            described.insert(pid, ProcessAttributes::read(&process, &stat, None, set, &mut buffer).unwrap());
        }
        for (pid, attributes) in &described {
            let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
            let status = file("status");
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.split_whitespace().next().unwrap().parse::<u32>().ok()
            };
            assert_eq!(attributes.parent_pid, field("PPid:").filter(|&parent| parent != 0));
            assert_eq!(attributes.owner_uid, field("Uid:"));
            let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
            assert_eq!(attributes.executable_path.as_deref(), exe.to_str());
            let words: Vec<String> = file("cmdline").split_terminator('\0').map(str::to_owned).collect();
            assert_eq!(attributes.command.as_deref(), words.first().map(String::as_str));
            assert_eq!(attributes.command_line.as_deref(), Some(words.join(" ").as_str()));
            let cgroups = file("cgroup");
            let path = |prefix: &str| cgroups.lines().find_map(|line| Some(line.split_once(prefix)?.1));
            assert_eq!(attributes.cgroup.as_deref(), path("0::").or_else(|| path(":memory:")));
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(described.len(), 5);
    }
}
