//! How near processes are to what limits them.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use m8refsvr_agent::model::{limit_utilization::LimitUtilization, sample::ProcessSample};
use m8refsvr_test_support::machine::{memory_cgroup, pids_cgroup};

use crate::{
    Case,
    Need::{Bpf, MemoryGroup, ThreadGroup},
    collecting::agent_for,
    load::{Programs, end},
};

pub(crate) const CASES: &[Case] = &[OWN_LIMITS, MEMORY, THREADS];

const NAME: &str = "@_limit";

/// Has a process follow commands and wait, and collects it.
fn collect(words: &str) -> ProcessSample {
    let programs = Programs::new(&[NAME]);
    let mut agent = agent_for(NAME, 8);
    let mut command = programs.command(NAME, &format!("{words} ready wait-input"));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let sample = agent.collect();
    end(&mut child);
    let [process] = sample.processes.as_slice() else { panic!("{:?}", sample.processes) };
    process.clone()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub(crate) fn part(used: u64, of: u64) -> Option<f64> {
    Some(used as f64 / of as f64)
}

const OWN_LIMITS: Case = Case::new(
    "open files and processes of the user are parts of the limits of the process",
    &[Bpf],
    own_limits,
);

fn own_limits() {
    // A user that nobody else is, whom the limit binds.
    let process = collect("limit-processes 10 setuid 54321");
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let LimitUtilization { open_files, user_processes, .. } = process.limits_used;
    assert_eq!(user_processes, part(1, 10));
    assert_eq!(open_files, files.and_then(|files| part(process.open_files.unwrap(), files)));
    // Root may have as many as it wants.
    assert_eq!(collect("limit-processes 10").limits_used.user_processes, None);
}

/// A control group within another, which is removed in the end.
pub(crate) struct Group(pub(crate) PathBuf);

impl Group {
    pub(crate) fn new(root: &Path) -> Self {
        let outer = root.join(format!("m8refsvr-limit-{}", std::process::id()));
        fs::create_dir(&outer).unwrap();
        // With version 2 the inner has no controller, and needs none.
        fs::create_dir(outer.join("inner")).unwrap();
        Self(outer)
    }

    pub(crate) fn inner(&self) -> PathBuf {
        self.0.join("inner")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in [self.inner(), self.0.clone()] {
            // The kernel needs a moment to let go of a process that has ended.
            while fs::remove_dir(&folder).is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
            {
                std::thread::yield_now();
            }
        }
    }
}

const MEMORY: Case =
    Case::new("a control group above that of the process limits its memory", &[Bpf, MemoryGroup], memory);

fn memory() {
    let (root, limit) = memory_cgroup().unwrap();
    let group = Group::new(&root);
    fs::write(group.0.join(limit), (256_u64 << 20).to_string()).unwrap();
    let process = collect(&format!("join-cgroup {}", group.inner().display()));
    assert_eq!(process.limits_used.cgroup_memory, part(process.resident_bytes.unwrap(), 256 << 20));
}

const THREADS: Case =
    Case::new("a control group above that of the process limits its threads", &[Bpf, ThreadGroup], threads);

fn threads() {
    let group = Group::new(&pids_cgroup().unwrap());
    fs::write(group.0.join("pids.max"), "4").unwrap();
    let process = collect(&format!("join-cgroup {}", group.inner().display()));
    assert_eq!(process.limits_used.cgroup_pids, part(1, 4));
}
