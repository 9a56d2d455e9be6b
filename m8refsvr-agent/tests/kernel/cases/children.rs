//! Storage I/O of parents and children that match both.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Stdio},
};

use super::lifecycle::agent_for;
use crate::{
    Case,
    Need::Bpf,
    collecting::{Counted as _, counters_of, of},
    load::Programs,
};
use m8refsvr_agent::{
    model::counters::Counter,
    proc::{Proc, io},
};
use m8refsvr_test_support::load::Usage;

pub(crate) const CASES: &[Case] = &[UNWAITED];

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
        let mut watching = earlier.is_none().then(|| agent_for(NAME, 64));
        let words = format!(
            "{words} ready wait-input fork-write-unwaited 1048576 ready wait-input write 4096 fork-write-unwaited 65536 ready wait-input"
        );
        let mut parent = programs.command(NAME, &words).stdout(Stdio::piped()).spawn().unwrap();
        parent.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let mut watching = watching.take().unwrap_or_else(|| agent_for(NAME, 64));
        for _ in 0..2 {
            step(&mut parent);
            let sample = watching.collect();
            let process = Proc::new("/proc").process(parent.id()).unwrap();
            let expected = counters_of(&io::read(&process, &mut Vec::new()).unwrap());
            assert_eq!(of(&sample, parent.id()).io(), expected, "nothing was added to it");
        }
        drop(parent.stdin.take());
        let mut usage = Usage::default();
        usage.wait(parent);
        watching.until_ended(3);
        let expected = usage.written_bytes - earlier.unwrap_or_default() + (1 << 20) + (1 << 16);
        assert_eq!(watching.total(Counter::StorageWrite), expected);
    }
}
