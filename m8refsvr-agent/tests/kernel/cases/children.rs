//! Storage I/O of parents and children that match both.

use std::{
    io::{Read as _, Write as _},
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
    let step = |child: &mut Child| {
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    };
    // The last was there before, and has waited for a child.
    for (words, earlier) in [
        ("ignore-sigchld write 8192", None),
        ("ignore-sigchld write 2097152", None),
        ("fork-write 2097152 ignore-sigchld write 8192", Some((2 << 20) + 8192)),
    ] {
        let mut agent = earlier.is_none().then(|| agent_for(NAME, 64));
        let words = format!(
            "{words} ready wait-input fork-write-unwaited 1048576 ready wait-input write 4096 fork-write-unwaited 65536 ready wait-input"
        );
        let mut parent = programs.command(NAME, &words).stdout(Stdio::piped()).spawn().unwrap();
        parent.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let mut agent = agent.take().unwrap_or_else(|| agent_for(NAME, 64));
        for _ in 0..2 {
            step(&mut parent);
            let sample = agent.collect();
            let process = Proc::new("/proc").process(parent.id()).unwrap();
            let expected = counters_of(&io::read(&process, &mut Vec::new()).unwrap());
            assert_eq!(of(&sample, parent.id()).io(), expected, "nothing was added to it");
        }
        drop(parent.stdin.take());
        let mut usage = Usage::default();
        usage.wait(parent);
        agent.until_ended(3);
        let expected = usage.written_bytes - earlier.unwrap_or_default() + (1 << 20) + (1 << 16);
        assert_eq!(agent.total(Counter::StorageWrite), expected);
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
        let mut agent = early.take().unwrap_or_else(|| agent_for(NAME, 64));
        agent.collect();
        let mut before = written(&agent);
        for least in [1 << 20, 4096 + 65536] {
            step(&mut child);
            // Where CPUs are busy, a child that its parent has waited for may not have been accounted for yet, and counts at a
            // later collection.
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
        let earlier = if is_there_before { 8192 } else { 0 };
        assert_eq!(written(&agent), usage.written_bytes - earlier);
    }
}
