//! Storage I/O of parents and children that match both.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Case,
    Need::Bpf,
    collecting::{Agent, agent_for, of},
    counted::{Counted as _, counters_of},
    load::Programs,
};
use m8refsvr_agent::{
    model::counters::Counter,
    proc::{Proc, io},
};
use m8refsvr_test_support::load::Usage;

pub(crate) const CASES: &[Case] = &[CHILDREN, UNWAITED];

const NAME: &str = "@";

const UNWAITED: Case =
    Case::new("what a child wrote that nobody waited for is not taken from its parent", &[Bpf], unwaited);

fn unwaited() {
    let programs = Programs::new(&[NAME]);
    // The last was there before, and has waited for a child.
    for (words, is_there_before) in [
        ("ignore-sigchld write 8192", false),
        ("ignore-sigchld write 2097152", false),
        ("fork-write 2097152 ignore-sigchld write 8192", true),
    ] {
        let mut agent = (!is_there_before).then(|| agent_for(NAME, 64));
        let words = format!(
            "{words} ready wait-input fork-write-unwaited 1048576 ready wait-input write 4096 fork-write-unwaited 65536 ready wait-input"
        );
        let mut parent = programs.command(NAME, &words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        assert_eq!(line(), "");
        let pid = parent.id();
        let of_kernel = || {
            let process = Proc::new("/proc").process(pid).unwrap();
            io::read(&process, &mut Vec::new()).unwrap()
        };
        let earlier = if is_there_before { of_kernel().write_bytes } else { 0 };
        let mut agent = agent.take().unwrap_or_else(|| agent_for(NAME, 64));
        let mut by_children = 0;
        for least in [1 << 20, 1 << 16] {
            parent.stdin.as_mut().unwrap().write_all(b"x").unwrap();
            let written: u64 = line().parse().unwrap();
            assert!(written >= least && line().is_empty(), "{written}");
            by_children += written;
            let sample = agent.collect();
            assert_eq!(of(&sample, pid).io(), counters_of(&of_kernel()), "nothing was added to it");
        }
        drop(parent.stdin.take());
        let mut usage = Usage::default();
        usage.wait(parent);
        agent.until_ended(3);
        assert_eq!(agent.total(Counter::StorageWrite), usage.written_bytes - earlier + by_children);
    }
}

const CHILDREN: Case = Case::new(
    "what a child wrote does not count a second time when its parent has waited for it",
    &[Bpf],
    children,
);

fn children() {
    let programs = Programs::new(&[NAME]);
    let written = |agent: &Agent| agent.total(Counter::StorageWrite);
    // None of them is seen alive. wait4 reports what all of a family had, each once.
    let mut agent = agent_for(NAME, 64);
    let mut usage = Usage::default();
    usage
        .run(5, || programs.command(NAME, "write 8192 fork-write 1048576 fork-write 65536 write 4096"))
        .unwrap();
    agent.until_ended(15);
    assert_eq!((agent.churn().starts, written(&agent)), (15, usage.written_bytes));
    assert!(usage.written_bytes >= 5 * (1 << 20), "{usage:?}");

    // The parent lives, and goes on.
    let words = "write 8192 ready wait-input fork-write 1048576 ready wait-input write 4096 fork-write 65536 ready wait-input write 8192";
    let step = |child: &mut Child| {
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    };
    for is_there_before in [false, true] {
        let mut early = (!is_there_before).then(|| agent_for(NAME, 64));
        let mut child = programs.command(NAME, words).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let process = Proc::new("/proc").process(child.id()).unwrap();
        // A little more than it wrote: the pages of the folder that it changed can be in it too.
        let now = io::read(&process, &mut Vec::new()).unwrap().write_bytes;
        let earlier = if is_there_before { now } else { 0 };
        let mut agent = early.take().unwrap_or_else(|| agent_for(NAME, 64));
        agent.collect();
        let mut before = written(&agent);
        for least in [1 << 20, 4096 + 65536] {
            step(&mut child);
            // Where CPUs are busy, a child that its parent has waited for may not have been accounted for yet, and
            // counts at a later collection.
            let end = Instant::now() + Duration::from_secs(10);
            while {
                agent.collect();
                written(&agent) - before < least && Instant::now() < end
            } {}
            let grown = written(&agent) - before;
            assert!((least..least + (1 << 16)).contains(&grown), "{grown} of {least}");
            before = written(&agent);
        }
        drop(child.stdin.take());
        let mut usage = Usage::default();
        usage.wait(child);
        agent.until_ended(3);
        assert_eq!(written(&agent), usage.written_bytes - earlier);
    }
}
