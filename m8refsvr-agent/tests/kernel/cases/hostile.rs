//! Processes that make the agent work as hard as they can.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
};

use m8refsvr_agent::model::exit::{EndKind, Exit};
use m8refsvr_test_support::machine::pids_cgroup;

use crate::{
    Case,
    Need::{Bpf, ThreadGroup},
    cases::limits::part,
    collecting::{agent_for, of},
    counted::Counted as _,
    load::{Programs, end},
};

pub(crate) const CASES: &[Case] = &[CROWD, DEEP];

const NAME: &str = "@_harm";
/// So many threads are asked for, within what a machine usually lets a process have.
const THREADS: usize = 10_000;

/// Starts a process, and returns when it has followed its words as far as `hold`.
fn start(programs: &Programs, words: &str) -> Child {
    let mut command = programs.command(NAME, &format!("{words}ready wait-input"));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

const CROWD: Case = Case::new("a crowd of threads is counted, and its exit is reported once", &[Bpf], crowd);

fn crowd() {
    let programs = Programs::new(&[NAME]);
    let mut from_its_start = agent_for(NAME, 8);
    let mut child = start(&programs, &format!("threads-up-to {THREADS} "));
    let mut later = agent_for(NAME, 8);
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap().count();
    assert!(threads > THREADS / 3, "the machine lets a process have {threads} threads only");
    for agent in [&mut from_its_start, &mut later] {
        let sample = agent.collect();
        assert_eq!(of(&sample, child.id()).threads, threads as u64);
        // Each has begun to wait.
        assert!(of(&sample, child.id()).switches().unwrap().voluntary >= threads as u64 / 2);
    }
    end(&mut child);
    for agent in [&mut from_its_start, &mut later] {
        agent.until_ended(1);
        let [end] = agent.ends.as_slice() else { panic!("{:?}", agent.ends) };
        assert_eq!((end.identity.pid, end.how), (child.id(), EndKind::Exited(Exit::Code(0))));
    }
}

/// Control groups within each other, which are removed in the end.
struct Groups(Vec<PathBuf>);

impl Groups {
    /// With names as long and as odd as the kernel takes them, as deep as a path can be.
    fn new(root: &Path) -> Self {
        let mut groups = Self(vec![root.join(format!("m8refsvr-harm-{}", std::process::id()))]);
        fs::create_dir(&groups.0[0]).unwrap();
        let odd = b" \\040:0::/..\t\x1b[31m\xc2\x9b\xe2\x80\xae\xff";
        let long = [odd, b"x".repeat(200).as_slice()].concat();
        for name in [odd, long.as_slice()].into_iter().cycle() {
            // A slash is the only byte of it that no name can have.
            let name: Vec<u8> = name.iter().map(|&byte| if byte == b'/' { b'|' } else { byte }).collect();
            let next = groups.innermost().join(OsStr::from_bytes(&name));
            // With room for the name of a file in it.
            if next.as_os_str().len() > 4000 {
                break;
            }
            fs::create_dir(&next).unwrap();
            groups.0.push(next);
        }
        groups
    }

    fn innermost(&self) -> &Path {
        self.0.last().unwrap()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // The kernel needs a moment to let go of a process that has ended.
            while fs::remove_dir(folder).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
                thread::yield_now();
            }
        }
    }
}

const DEEP: Case = Case::new(
    "a control group as deep and as odd as the kernel makes them limits its threads",
    &[Bpf, ThreadGroup],
    deep,
);

fn deep() {
    let groups = Groups::new(&pids_cgroup().unwrap());
    assert!(groups.0.len() > 20, "{}", groups.0.len());
    fs::write(groups.0[0].join("pids.max"), "4").unwrap();
    let programs = Programs::new(&[NAME]);
    let mut agent = agent_for(NAME, 8);
    let mut child = start(&programs, "");
    fs::write(groups.innermost().join("cgroup.procs"), child.id().to_string()).unwrap();
    let sample = agent.collect();
    end(&mut child);
    assert_eq!(of(&sample, child.id()).limits_used.cgroup_pids, part(1, 4));
}
