//! Ends of processes, in all ways.

use std::{fs, time::Duration};

use m8refsvr_agent::model::exit::{EndKind, Exit};
use m8refsvr_test_support::machine::memory_cgroup;

use crate::{
    Case,
    Need::{Bpf, CoreFiles, MemoryGroup},
    collecting::agent_for,
    load::Programs,
};

pub(crate) const CASES: &[Case] = &[ENDS, OUT_OF_MEMORY];

const NAME: &str = "@";

const ENDS: Case = Case::new("an exit code, a signal and a core are distinguished", &[Bpf, CoreFiles], ends);

fn ends() {
    let programs = Programs::new(&[NAME]);
    let cases = [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("unlimited-core raise 11", Exit::Signal { number: 11, core_dumped: true }),
        ("raise 9", Exit::Signal { number: 9, core_dumped: false }),
        ("raise 15", Exit::Signal { number: 15, core_dumped: false }),
        ("end-leader exit 4", Exit::Code(4)),
    ];
    for (words, expected) in cases {
        let mut agent = agent_for(NAME, 8);
        // More than this program has, which starts it: its peak would be reported as if it were the other's.
        let mut child = programs.command(NAME, &format!("allocate 250 {words}")).spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        agent.until_ended(1);
        let [end] = agent.ends.as_slice() else { panic!("{words}: {:?}", agent.ends) };
        assert_eq!((end.identity.pid, end.how), (pid, EndKind::Exited(expected)), "{words}");
        assert!(end.peak_bytes.unwrap() >= 250 << 20, "{words}: {end:?}");
        assert!(end.lasted > Duration::ZERO && end.lasted < Duration::from_secs(60), "{words}");
        let [_, counted] = [(), ()].map(|()| agent.churn().exits.iter().find(|&(_, &count)| count == 1));
        assert_eq!(counted.unwrap().0.reason(), expected.reason(), "{words}");
    }
}

const OUT_OF_MEMORY: Case = Case::new(
    "a process that the OOM killer ends is distinguished from others",
    &[Bpf, MemoryGroup],
    out_of_memory,
);

fn out_of_memory() {
    let (root, limit) = memory_cgroup().unwrap();
    let group = root.join(format!("m8refsvr-test-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    fs::write(group.join(limit), (48_u64 << 20).to_string()).unwrap();
    let programs = Programs::new(&[NAME]);
    let mut agent = agent_for(NAME, 8);
    let words = format!("join-cgroup {} allocate 200", group.display());
    let outcome = programs.command(NAME, &words).spawn().unwrap().wait().unwrap();
    agent.until_ended(1);
    fs::remove_dir(&group).unwrap();
    assert!(!outcome.success());
    let [end] = agent.ends.as_slice() else { panic!("{:?}", agent.ends) };
    assert_eq!(end.how, EndKind::Exited(Exit::Oom));
    assert_eq!(agent.churn().exits.last_key_value().unwrap(), (&Exit::Oom, &1));
}
