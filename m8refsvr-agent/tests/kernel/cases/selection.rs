//! Processes that come to match, and cease to, by what they execute and how they are called.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{MetadataExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use m8refsvr_agent::model::{counters::Counter, exit::EndKind};
use m8refsvr_common::slot::Tgid;
use m8refsvr_test_support::load::Usage;

use crate::{
    Case,
    Need::Bpf,
    collecting::{
        Agent, agent_for, agent_of_patterns, collector_of_patterns, collector_of_proc, during, equals,
        settled,
    },
    counted::Counted as _,
    load::{Programs, end, own, wait_for_name},
};

pub(crate) const CASES: &[Case] =
    &[FOUND_ONCE, TAKES_A_NAME, OTHER_AGENT, LEAVES, THERE_AND_BACK, BY_EXECUTABLE, TITLES, OTHER_GROUP];

const NAME: &str = "@";
const OTHER: &str = "something-else";

const FOUND_ONCE: Case =
    Case::new("a process is found once by its host id however it came to match", &[Bpf], found_once);

fn found_once() {
    let programs = Programs::new(&[NAME, OTHER]);
    let cases = [
        // How it comes to match, and how many match while it holds.
        ("executes it", NAME, "wait-input", 1),
        ("executes it from another program", OTHER, "exec ./@ wait-input", 1),
        ("executes it from a thread", OTHER, "exec-from-thread ./@ wait-input", 1),
        ("executes itself again", NAME, "exec ./@ exec ./@ wait-input", 1),
        ("executes itself again from a thread", NAME, "exec-from-thread ./@ wait-input", 1),
        ("takes the name", OTHER, "rename @ wait-input", 1),
        ("takes the name and loses it and takes it", OTHER, "rename @ rename x rename @ wait-input", 1),
        ("forks", NAME, "fork wait-input", 2),
        ("forks twice", NAME, "fork fork wait-input", 3),
        ("spawns", OTHER, "spawn ./@ wait-input", 1),
        ("spawns itself", NAME, "spawn ./@ wait-input", 2),
        ("becomes a daemon", NAME, "detach setsid detach wait-input", 1),
        ("becomes a daemon and then executes it", OTHER, "detach setsid detach exec ./@ wait-input", 1),
        ("spawns another", NAME, "spawn ./something-else wait-input", 1),
    ];
    for (what, program, words, expected) in cases {
        let mut agent = agent_for(NAME, 64);
        let mut child = programs.command(program, words).stdout(Stdio::null()).spawn().unwrap();
        let (pids, sample) = settled(&mut agent, expected);
        assert_eq!(pids.len(), expected, "{what}: {pids:?}");
        for pid in pids {
            // By the ids of this namespace, which is the host's.
            assert!(Path::new(&format!("/proc/{pid}")).exists(), "{what}");
        }
        assert!(sample.processes.iter().all(|process| process.switches().is_some()), "{what}");
        let lives = agent.churn().clone();
        assert!(lives.starts >= expected as u64, "{what}: {lives:?}");
        end(&mut child);
        let (pids, _) = settled(&mut agent, 0);
        assert_eq!(pids.len(), 0, "{what}: {pids:?}");
        assert_eq!(agent.collector.kernel().unwrap().slots().0, 0, "{what}");
        assert_eq!(agent.collector.discovery_missed(), 0, "{what}");
        let exits = agent.exits();
        assert!(exits <= agent.churn().starts && exits >= expected as u64, "{what}");
    }
    // In a PID namespace of its own it has another id there.
    let mut agent = agent_for(NAME, 64);
    let command = programs.command(NAME, "wait-input");
    let mut child = Command::new("unshare")
        .args(["--pid", "--fork"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let (pids, _) = settled(&mut agent, 1);
    let namespace = |pid: u32| fs::metadata(format!("/proc/{pid}/ns/pid")).unwrap().ino();
    assert_eq!(pids.len(), 1);
    assert_ne!(namespace(pids[0]), namespace(std::process::id()));
    end(&mut child);
}

const TAKES_A_NAME: Case = Case::new(
    "a process that takes a name has its slot from then on and its own values at its exit",
    &[Bpf],
    takes_a_name,
);

fn takes_a_name() {
    let programs = Programs::new(&[NAME, OTHER]);
    for words in ["nap 20 rename @ nap 30 ready wait-input", "nap 20 exec ./@ nap 30 ready wait-input"] {
        let mut agent = agent_for(NAME, 8);
        let mut child = programs.command(OTHER, words).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        // There was no collection yet: a BPF program noted what the process had until then.
        let kernel = agent.collector.kernel().unwrap();
        let holder = kernel.tracked_process(kernel.slot(Tgid(child.id())).unwrap()).unwrap();
        let first = holder.exit.accounting_at_start;
        assert!(first.voluntary > 0, "{words}: {first:?}");
        assert_eq!(holder.comm, own(NAME).as_bytes(), "{words}");
        let mut usage = Usage::default();
        drop(child.stdin.take());
        usage.wait(child);
        equals(&mut agent, &usage);
    }
}

const OTHER_AGENT: Case =
    Case::new("another agent is not tracked under a name that matches", &[Bpf], other_agent);

fn other_agent() {
    const AGENT: &str = "m8refsvr-agent.old";
    let programs = Programs::new(&[AGENT]);
    symlink(programs.path(AGENT), programs.path(NAME)).unwrap();
    let mut agent = agent_for(NAME, 8);
    let mut child = programs.command(NAME, "wait-input").spawn().unwrap();
    wait_for_name(child.id(), NAME);
    // The programs know its `comm` alone.
    assert!(agent.collector.kernel().unwrap().slot(Tgid(child.id())).is_some());
    let (pids, _) = settled(&mut agent, 0);
    assert_eq!(pids, [0; 0]);
    assert_eq!((agent.churn().starts, agent.collector.kernel().unwrap().slots().0), (0, 0));
    end(&mut child);
}

const TITLES: Case = Case::new("a title that a process gave itself does not match", &[Bpf], titles);

fn titles() {
    let name = own(NAME);
    let sleep = |argv0: String| Command::new("sleep").arg0(argv0).arg("60").spawn().unwrap();
    let by_proc = Agent::new(collector_of_proc(&name));
    for mut agent in [agent_for(NAME, 8), by_proc] {
        let titles = [
            format!("sshd: {name} [priv]"),
            format!("sshd: {name}@pts/0"),
            format!("nginx: master process /opt/{name}"),
        ];
        let mut others = titles.map(sleep);
        // The last: when it has its arguments, they have theirs.
        let mut ours = sleep(format!("/opt/{name}"));
        let pid = ours.id();
        // The parent goes on a moment before the kernel has set the arguments.
        let (found, _) = settled(&mut agent, 1);
        for child in others.iter_mut().chain([&mut ours]) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found, [pid]);
    }
}

const OTHER_GROUP: Case = Case::new(
    "a process that takes a name of another pattern is in that group, as an agent that starts later finds it",
    &[Bpf],
    other_group,
);

fn other_group() {
    const FIRST: &str = "@-b";
    const SECOND: &str = "@-a";
    let programs = Programs::new(&[SECOND]);
    let cases = [
        // How it takes a name of the first pattern.
        ("renames itself", "wait-input rename @-b wait-input"),
        ("renames itself, seen in /proc alone", "wait-input rename @-b wait-input"),
        ("executes a program", "wait-input exec ./@-b wait-input"),
        ("executes a program in a thread", "wait-input exec-from-thread ./@-b wait-input"),
    ];
    symlink(programs.path(SECOND), programs.path(FIRST)).unwrap();
    let with = |what: &str| match what {
        "renames itself, seen in /proc alone" => Agent::new(collector_of_patterns(&[FIRST, SECOND])),
        _ => agent_of_patterns(&[FIRST, SECOND]),
    };
    for (what, words) in cases {
        let mut agent = with(what);
        let mut child = programs.command(SECOND, words).stdin(Stdio::piped()).spawn().unwrap();
        let (_, sample) = settled(&mut agent, 1);
        assert_eq!(sample.processes[0].group, 1, "{what}");
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        wait_for_name(child.id(), FIRST);
        let (_, sample) = settled(&mut agent, 1);
        let later = with(what).collect();
        let groups = [&sample, &later].map(|sample| sample.processes[0].group);
        assert_eq!(groups, [0, 0], "{what}");
        end(&mut child);
        let ended = std::time::Instant::now() + Duration::from_secs(10);
        while agent.exits() == 0 && std::time::Instant::now() < ended {
            std::thread::sleep(Duration::from_millis(5));
            agent.collect();
        }
        let churns = [0, 1].map(|group| agent.accumulator.churn(group).unwrap());
        let changes = churns.map(|churn| (churn.starts, churn.selected, churn.deselected, churn.exits.len()));
        assert_eq!(changes, [(0, 1, 0, 1), (1, 0, 1, 0)], "{what}");
    }
}

const LEAVES: Case = Case::new(
    "a process no longer matches when it executes another program or takes another name",
    &[Bpf],
    leaves,
);

fn leaves() {
    let programs = Programs::new(&[NAME, OTHER]);
    let cases = [
        (NAME, "sleep 200 exec ./something-else burn-cpu 300 wait-input"),
        (OTHER, "rename @ sleep 200 rename x burn-cpu 300 wait-input"),
    ];
    for (program, words) in cases {
        let mut agent = agent_for(NAME, 8);
        let mut child = programs.command(program, words).spawn().unwrap();
        let pid = child.id();
        let (pids, _) = settled(&mut agent, 1);
        assert_eq!(pids, [pid], "{words}");
        let (pids, _) = settled(&mut agent, 0);
        assert_eq!(pids, [0; 0], "{words}");
        assert_eq!(agent.ends.last().unwrap().how, EndKind::Deselected, "{words}");
        assert_eq!((agent.churn().starts, agent.exits()), (1, 0), "{words}");
        assert_eq!(agent.collector.kernel().unwrap().slots().0, 0, "{words}");
        end(&mut child);
        agent.collect();
        // What it did under the other name is not ours.
        let cpu = agent.total(Counter::CpuUser) + agent.total(Counter::CpuSystem);
        assert!(cpu < 250_000_000, "{words}: {cpu}");
    }
}

const THERE_AND_BACK: Case = Case::new(
    "what a process did as another program does not count and what it did before and after counts once",
    &[Bpf],
    there_and_back,
);

fn there_and_back() {
    let programs = Programs::new(&[NAME, OTHER]);
    let cpu = |agent: &Agent| (agent.total(Counter::CpuUser) + agent.total(Counter::CpuSystem)) / 1_000_000;
    // What it used as another program is not ours. It uses more than it is asked for where the machine stands still.
    let words =
        "burn-cpu 1000 cpu-time exec ./something-else burn-cpu 200 cpu-time exec ./@ burn-cpu 200 cpu-time";
    let ours = |used: &[u64]| used[2] - (used[1] - used[0]);
    // The other part is 200 ms at least, and that of the programs' start much less.
    let is_near = |agent: &Agent, expected: u64| cpu(agent).abs_diff(expected) < 100;
    let mut unseen = agent_for(NAME, 8);
    let mut child = programs.command(NAME, words).stdout(Stdio::piped()).spawn().unwrap();
    let used = numbers(&mut BufReader::new(child.stdout.take().unwrap()), 3);
    Usage::default().wait(child);
    unseen.until_ended(1);
    assert!(is_near(&unseen, ours(&used)), "{}, {used:?}", cpu(&unseen));
    assert_eq!((unseen.churn().starts, unseen.exits()), (1, 1));

    let mut agent = agent_for(NAME, 8);
    let words = &format!("cpu-time wait-input {words} wait-input burn-cpu 600 cpu-time");
    let mut child = programs.command(NAME, words).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    numbers(&mut output, 1);
    let before = agent.collect();
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    let used = numbers(&mut output, 3);
    let sample = agent.collect();
    // It is the same process, and was never away for a collection.
    let identities = [&before, &sample].map(|sample| sample.processes.first().map(|it| it.identity));
    assert!(identities[0].is_some() && identities[0] == identities[1], "{identities:?}");
    assert!(is_near(&agent, ours(&used)), "{}, {used:?}", cpu(&agent));
    let of_process = agent.accumulator.process(&identities[0].unwrap()).now.get(Counter::CpuUser).unwrap();
    assert_eq!(of_process, agent.total(Counter::CpuUser));
    drop(child.stdin.take());
    let rest = numbers(&mut output, 1)[0] - used[2];
    Usage::default().wait(child);
    agent.until_ended(1);
    assert!(is_near(&agent, ours(&used) + rest), "{}, {used:?}, {rest}", cpu(&agent));
    assert_eq!((agent.churn().starts, agent.exits()), (1, 1));
}

const BY_EXECUTABLE: Case = Case::new(
    "a process that matches by its executable alone is counted from its start",
    &[Bpf],
    by_executable,
);

fn by_executable() {
    // A name that is longer than what the kernel keeps.
    const LONG: &str = "@_of_a_long_name";
    let programs = Programs::new(&[LONG, OTHER]);
    let mut agent = agent_for(LONG, 64);
    let mut usage = Usage::default();
    let mut child = programs
        .command(LONG, "write 4096 burn-cpu 100 fork write 4096 burn-cpu 100 wait-input")
        .spawn()
        .unwrap();
    let (pids, _) = settled(&mut agent, 2);
    assert_eq!(pids.len(), 2);
    drop(child.stdin.take());
    usage.wait(child);
    let (pids, _) = settled(&mut agent, 0);
    assert_eq!(pids.len(), 0);
    assert_eq!((agent.churn().starts, agent.exits()), (2, 2));
    let cpu = agent.total(Counter::CpuUser) + agent.total(Counter::CpuSystem);
    assert!(u128::from(cpu) >= 200_000_000, "{cpu}, {usage:?}");
    // One that executes itself again goes on.
    let switches = |agent: &Agent| agent.total(Counter::Voluntary) + agent.total(Counter::Involuntary);
    let before = switches(&agent);
    let usage = during(&mut agent, Duration::from_secs(5), || {
        let mut usage = Usage::default();
        usage
            .run(1, || programs.command(LONG, "ready sleep 20 nap 200 exec ./@_of_a_long_name nap 200"))
            .unwrap();
        usage
    });
    let naps = switches(&agent) - before;
    // But for those of the moments in which the agent decides.
    assert!((350..=usage.switches).contains(&naps), "{naps} of {usage:?}");
    // Daemons whose parents end while they are read, or before they can be.
    for pause in [
        "detach",
        "sleep 1 detach",
        "sleep 2 detach",
        "sleep 3 detach",
        "burn-cpu 2 detach",
        "burn-cpu 3 detach",
    ] {
        let words = format!("{pause} setsid {pause} wait-input");
        let mut child = programs.command(LONG, &words).spawn().unwrap();
        let (pids, _) = settled(&mut agent, 1);
        assert_eq!(pids.len(), 1, "{words}");
        end(&mut child);
        assert_eq!(settled(&mut agent, 0).0, [0; 0], "{words}");
    }
}

/// So many lines, a number each.
fn numbers(lines: &mut impl BufRead, count: usize) -> Vec<u64> {
    lines.lines().take(count).map(|line| line.unwrap().parse().unwrap()).collect()
}
