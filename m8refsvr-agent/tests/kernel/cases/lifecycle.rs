//! Totals of processes that come and go between two collections.

use std::{
    fs,
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use m8refsvr_agent::model::{
    counters::Counter,
    exit::{EndKind, Exit},
};
use m8refsvr_test_support::load::Usage;

use crate::{
    Case,
    Need::{Bpf, Strace},
    collecting::{Agent, agent_for, collector_of_proc, drops, during, equals},
    counted::Counted as _,
    load::{Programs, end, own, wait_for_name, work_folder},
};

pub(crate) const CASES: &[Case] = &[
    FOUR_HUNDRED,
    FIVE_THOUSAND,
    TOO_FEW_SLOTS,
    STOPPED,
    LOST_EVENTS,
    BUSY_THREADS,
    LEADER_ENDS_FIRST,
    OPENS_ONE,
    WITHOUT_BPF,
    RESTARTS,
];

const NAME: &str = "@";
const OTHER: &str = "something-else";

const FOUR_HUNDRED: Case =
    Case::new("400 processes of 50 ms lose nothing at an interval of 5 s", &[Bpf], four_hundred);

fn four_hundred() {
    let programs = Programs::new(&[NAME]);
    let mut agent = agent_for(NAME, 4096);
    let usage = during(&mut agent, Duration::from_secs(5), || {
        let mut usage = Usage::default();
        usage.run(400, || programs.command(NAME, "ready write 8192 burn-cpu 50")).unwrap();
        usage
    });
    equals(&mut agent, &usage);
    assert!(usage.written_bytes >= 400 * 8192, "{usage:?}");
    assert_eq!(agent.churn().restarts, 399);
    assert_eq!(drops(&agent), Default::default());
}

const RESTARTS: Case = Case::new(
    "neither a daemon that starts nor a server that forks restarts until it starts again",
    &[Bpf],
    restarts,
);

fn restarts() {
    let programs = Programs::new(&[NAME]);
    let server = "fork-write 1 ".repeat(24) + "wait-input";
    let cases = [("a daemon", "detach setsid detach wait-input", 3), ("a server", server.as_str(), 25)];
    for (what, words, starts) in cases {
        let mut agent = agent_for(NAME, 64);
        for earlier in 0..2 {
            let mut child = programs.command(NAME, words).stdin(Stdio::piped()).spawn().unwrap();
            // What starts while a collection reads is in the next one.
            for _ in 0..100 {
                if agent.churn().starts == (earlier + 1) * starts && agent.exits() + 1 == agent.churn().starts
                {
                    break;
                }
                agent.follow_for(Duration::from_millis(50));
                agent.collect();
            }
            let churn = agent.churn();
            assert_eq!(
                (churn.starts, churn.restarts),
                ((earlier + 1) * starts, earlier),
                "{what}: {churn:?}"
            );
            assert_eq!(churn.starts - agent.exits(), 1, "{what}: {churn:?}");
            end(&mut child);
            agent.until_ended((earlier + 1) * starts);
            assert_eq!(agent.exits(), (earlier + 1) * starts, "{what}");
        }
        let churn = agent.churn();
        assert_eq!((churn.selected, churn.deselected), (0, 0), "{what}");
    }
}

const FIVE_THOUSAND: Case = Case::new("5000 processes of about 1 ms lose nothing", &[Bpf], five_thousand);

fn five_thousand() {
    let programs = Programs::new(&[NAME]);
    let mut agent = agent_for(NAME, 4096);
    let usage = during(&mut agent, Duration::from_secs(5), || {
        let mut usage = Usage::default();
        usage.run(5000, || programs.command(NAME, "ready exit 0")).unwrap();
        usage
    });
    equals(&mut agent, &usage);
    assert_eq!(drops(&agent), Default::default());
}

const TOO_FEW_SLOTS: Case = Case::new(
    "with too few slots each process that found none is counted and the others are right",
    &[Bpf],
    too_few_slots,
);

fn too_few_slots() {
    let programs = Programs::new(&[NAME]);
    let mut agent = agent_for(NAME, 64);
    // Nothing is taken in meanwhile, so that the slots of those that ended are not free.
    let mut usage = Usage::default();
    let mut with_slot = Usage::default();
    with_slot.run(64, || programs.command(NAME, "burn-cpu 5")).unwrap();
    usage.run(4936, || programs.command(NAME, "exit 0")).unwrap();
    // What they had waits in their slots, for a dump to be seen too.
    let waiting = agent.collector.snapshot().unwrap().ended;
    assert_eq!(waiting.len(), 64);
    assert!(
        waiting.iter().all(|over| over.exit.status == 0 && over.exit.accounting_at_end.runtime >= 5_000_000)
    );
    equals(&mut agent, &with_slot);
    assert_eq!(drops(&agent).no_free_slot, usage.processes);
    // And now they are.
    with_slot.run(1, || programs.command(NAME, "burn-cpu 5")).unwrap();
    equals(&mut agent, &with_slot);
}

const STOPPED: Case =
    Case::new("an agent that was stopped for long has right totals afterwards", &[Bpf], stopped);

fn stopped() {
    let programs = Programs::new(&[NAME]);
    let mut agent = agent_for(NAME, 4096);
    let mut usage = Usage::default();
    usage.run(400, || programs.command(NAME, "write 4096 burn-cpu 10")).unwrap();
    equals(&mut agent, &usage);
    assert_eq!(drops(&agent), Default::default());
}

const LOST_EVENTS: Case = Case::new(
    "events that were dropped are counted and the next collection finds what they reported",
    &[Bpf],
    lost_events,
);

fn lost_events() {
    let programs = Programs::new(&[NAME, OTHER]);
    let mut agent = agent_for(NAME, 64);
    // Each name is one that has to be decided about, and there is not room for all.
    let mut living =
        programs.command(NAME, "rename-often 30000 ready wait-input").stdout(Stdio::piped()).spawn().unwrap();
    living.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let mut usage = Usage::default();
    usage.run(20, || programs.command(NAME, "write 4096 burn-cpu 5")).unwrap();
    end(&mut living);
    let mut young = programs.command(NAME, "wait-input").spawn().unwrap();
    wait_for_name(young.id(), NAME);
    let sample = agent.collect();
    assert!(drops(&agent).events > 0);
    let pids: Vec<u32> = sample.processes.iter().map(|process| process.identity.pid).collect();
    assert_eq!(pids, [young.id()]);
    assert_eq!((agent.churn().starts, agent.exits()), (22, 21));
    let written = agent.total(Counter::StorageWrite);
    assert_eq!(written, usage.written_bytes);
    end(&mut young);
}

const BUSY_THREADS: Case =
    Case::new("a process that ends under its busy threads loses nothing", &[Bpf], busy_threads);

fn busy_threads() {
    let programs = Programs::new(&[NAME]);
    let mut agent = agent_for(NAME, 64);
    let mut usage = Usage::default();
    usage.run(30, || programs.command(NAME, "burn-cpu-threads 4 sleep 40 exit 0")).unwrap();
    equals(&mut agent, &usage);
}

const LEADER_ENDS_FIRST: Case =
    Case::new("what threads did that ended first is in the final values", &[Bpf], leader_ends_first);

fn leader_ends_first() {
    let programs = Programs::new(&[NAME]);
    let mut agent = agent_for(NAME, 64);
    let mut usage = Usage::default();
    usage.run(20, || programs.command(NAME, "burn-cpu 20 end-leader burn-cpu 40 write 4096")).unwrap();
    equals(&mut agent, &usage);
}

const OPENS_ONE: Case = Case::new(
    "of 1470 processes a collection opens the files of the one that matches",
    &[Bpf, Strace],
    opens_one,
);

fn opens_one() {
    let programs = Programs::new(&[NAME]);
    let sleeping = || Command::new("sleep").arg("120").spawn().unwrap();
    let mut others: Vec<Child> = (0..1470).map(|_| sleeping()).collect();
    let mut child = programs.command(NAME, "wait-input").spawn().unwrap();
    wait_for_name(child.id(), NAME);
    let folder = work_folder();
    let trace = folder.path().join("trace");
    let outcome = Command::new("strace")
        .args(["-f", "-e", "trace=%file", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_m8refsvr-agent"))
        .args(["--once", "--no-export", "--ebpf", "require", "--process", &own(NAME), "--sample", "0.5"])
        .output();
    end(&mut child);
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    let outcome = outcome.unwrap();
    assert!(outcome.status.success(), "{outcome:?}");
    let trace = fs::read_to_string(trace).unwrap();
    let opened = |pid: u32| trace.matches(&format!("\"/proc/{pid}\"")).count();
    // When the agent starts it goes over all; at the second collection not.
    for other in &others {
        assert_eq!(opened(other.id()), 1, "{}", other.id());
    }
    assert!(opened(child.id()) > 2, "{}", opened(child.id()));
}

const WITHOUT_BPF: Case = Case::new(
    "without BPF what a collection saw stays in the total and an end has no reason",
    &[],
    without_bpf,
);

fn without_bpf() {
    let programs = Programs::new(&[NAME, OTHER]);
    let mut agent = Agent::new(collector_of_proc(&own(NAME)));
    let mut child = programs.command(NAME, "burn-cpu 100 wait-input").spawn().unwrap();
    wait_for_name(child.id(), NAME);
    while agent.collect().processes.first().is_none_or(|it| it.cpu_time() < Duration::from_millis(50)) {}
    let cpu = agent.total(Counter::CpuUser) + agent.total(Counter::CpuSystem);
    end(&mut child);
    assert!(agent.collect().processes.is_empty());
    assert_eq!(agent.total(Counter::CpuUser) + agent.total(Counter::CpuSystem), cpu);
    assert_eq!((agent.churn().starts, agent.exits()), (1, 1));
    assert_eq!(agent.ends[0].how, EndKind::Exited(Exit::Unknown));
    assert_eq!(agent.churn().exits.last_key_value().unwrap(), (&Exit::Unknown, &1));

    // One that takes another name lives on.
    let mut child = programs
        .command(OTHER, "rename @ wait-input rename x ready wait-input")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_name(child.id(), NAME);
    assert_eq!(agent.collect().processes.len(), 1);
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(agent.collect().processes.len(), 0);
    assert_eq!((agent.ends.last().unwrap().how, agent.exits()), (EndKind::Deselected, 1));
    end(&mut child);
}
