//! Processes that come and go between two collections, change what they are, and end in all ways.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use m8refsvr_agent::{
    bpf::Options,
    model::{
        counters::Counter,
        exit::{EndKind, Exit},
    },
};
use m8refsvr_common::slot::Tgid;
use m8refsvr_test_support::{load::Usage, machine::memory_cgroup};

use crate::{
    Case,
    Need::{Bpf, CoreFiles, MemoryGroup, Strace},
    collecting::{Agent, Counted as _, collector_of_proc, collector_with},
    load::{Programs, own, work_folder},
};

pub(crate) const CASES: &[Case] = &[
    FOUR_HUNDRED,
    FIVE_THOUSAND,
    TOO_FEW_SLOTS,
    STOPPED,
    LOST_EVENTS,
    FOUND_ONCE,
    TAKES_A_NAME,
    OTHER_AGENT,
    LEAVES,
    BUSY_THREADS,
    THERE_AND_BACK,
    BY_EXECUTABLE,
    ENDS,
    OUT_OF_MEMORY,
    LEADER_ENDS_FIRST,
    CHILDREN,
    OPENS_ONE,
    WITHOUT_BPF,
];

const NAME: &str = "@";
const OTHER: &str = "something-else";

fn watching(capacity: u32) -> Agent {
    agent_for(NAME, capacity)
}

pub(crate) fn agent_for(name: &str, capacity: u32) -> Agent {
    let options = Options { capacity, bpf_fs: None, ..Options::default() };
    Agent::new(collector_with(&own(name), &options))
}

/// Follows what a thread does until it is done, looking at each interval.
fn during(watching: &mut Agent, interval: Duration, load: impl FnOnce() -> Usage + Send) -> Usage {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let usage = load();
            is_done.store(true, Ordering::Relaxed);
            usage
        });
        watching.until(interval, || is_done.load(Ordering::Relaxed));
        load.join().unwrap()
    })
}

/// The totals are what `wait4` told, of processes that have all ended.
fn equals(watching: &mut Agent, usage: &Usage) {
    watching.until_ended(usage.processes);
    assert_eq!((watching.churn().starts, watching.exits()), (usage.processes, usage.processes));
    let switches = watching.total(Counter::Voluntary) + watching.total(Counter::Involuntary);
    // The switch on exit is after the kernel's own count where the parent is fast.
    let most = usage.switches + usage.processes;
    assert!((usage.switches..=most).contains(&switches), "{switches} switches, {usage:?}");
    assert_eq!(watching.total(Counter::StorageWrite), usage.written_bytes);
    let cpu = watching.total(Counter::CpuUser) + watching.total(Counter::CpuSystem);
    let difference = cpu.abs_diff(u64::try_from(usage.cpu.as_nanos()).unwrap());
    assert!(u128::from(difference) * 100 <= usage.cpu.as_nanos(), "{cpu} ns, {usage:?}");
}

fn losses(watching: &Agent) -> m8refsvr_common::record::DropsRecord {
    watching.collector.kernel().unwrap().drops()
}

const FOUR_HUNDRED: Case =
    Case::new("400 processes of 50 ms lose nothing at an interval of 5 s", &[Bpf], four_hundred);

fn four_hundred() {
    let programs = Programs::new(&[NAME]);
    let mut watching = watching(4096);
    let usage = during(&mut watching, Duration::from_secs(5), || {
        let mut usage = Usage::default();
        usage.run(400, || programs.command(NAME, "ready write 8192 burn-cpu 50")).unwrap();
        usage
    });
    equals(&mut watching, &usage);
    assert!(usage.written_bytes >= 400 * 8192, "{usage:?}");
    assert_eq!(watching.churn().restarts, 399);
    assert_eq!(losses(&watching), Default::default());
}

const FIVE_THOUSAND: Case = Case::new("5000 processes of about 1 ms lose nothing", &[Bpf], five_thousand);

fn five_thousand() {
    let programs = Programs::new(&[NAME]);
    let mut watching = watching(4096);
    let usage = during(&mut watching, Duration::from_secs(5), || {
        let mut usage = Usage::default();
        usage.run(5000, || programs.command(NAME, "ready exit 0")).unwrap();
        usage
    });
    equals(&mut watching, &usage);
    assert_eq!(losses(&watching), Default::default());
}

const TOO_FEW_SLOTS: Case = Case::new(
    "with too few slots each process that found none is counted and the others are right",
    &[Bpf],
    too_few_slots,
);

fn too_few_slots() {
    let programs = Programs::new(&[NAME]);
    let mut watching = watching(64);
    // Nothing is taken in meanwhile, so that the slots of those that ended are not free.
    let mut usage = Usage::default();
    let mut with_slot = Usage::default();
    with_slot.run(64, || programs.command(NAME, "burn-cpu 5")).unwrap();
    usage.run(4936, || programs.command(NAME, "exit 0")).unwrap();
    // What they had waits in their slots, for a dump to be seen too.
    let waiting = watching.collector.snapshot().unwrap().ended;
    assert_eq!(waiting.len(), 64);
    assert!(
        waiting.iter().all(|over| over.exit.status == 0 && over.exit.accounting_at_end.runtime >= 5_000_000)
    );
    equals(&mut watching, &with_slot);
    assert_eq!(losses(&watching).no_free_slot, usage.processes);
    // And now they are.
    with_slot.run(1, || programs.command(NAME, "burn-cpu 5")).unwrap();
    equals(&mut watching, &with_slot);
}

const STOPPED: Case =
    Case::new("an agent that was stopped for long has right totals afterwards", &[Bpf], stopped);

fn stopped() {
    let programs = Programs::new(&[NAME]);
    let mut watching = watching(4096);
    let mut usage = Usage::default();
    usage.run(400, || programs.command(NAME, "write 4096 burn-cpu 10")).unwrap();
    equals(&mut watching, &usage);
    assert_eq!(losses(&watching), Default::default());
}

const LOST_EVENTS: Case = Case::new(
    "events that were lost are counted and the next collection finds what they told",
    &[Bpf],
    lost_events,
);

fn lost_events() {
    let programs = Programs::new(&[NAME, OTHER]);
    let mut watching = watching(64);
    // Each name is one that has to be decided about, and there is not room for all.
    let mut living =
        programs.command(NAME, "rename-often 30000 ready wait-input").stdout(Stdio::piped()).spawn().unwrap();
    living.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let mut usage = Usage::default();
    usage.run(20, || programs.command(NAME, "write 4096 burn-cpu 5")).unwrap();
    end(&mut living);
    let mut young = programs.command(NAME, "wait-input").spawn().unwrap();
    wait_for_name(young.id(), NAME);
    let sample = watching.collect();
    assert!(losses(&watching).events > 0);
    let pids: Vec<u32> = sample.processes.iter().map(|process| process.identity.pid).collect();
    assert_eq!(pids, [young.id()]);
    assert_eq!((watching.churn().starts, watching.exits()), (22, 21));
    let written = watching.total(Counter::StorageWrite);
    assert_eq!(written, usage.written_bytes);
    end(&mut young);
}

/// Waits until a process has a name.
fn wait_for_name(pid: u32, name: &str) {
    let comm = PathBuf::from(format!("/proc/{pid}/comm"));
    while fs::read_to_string(&comm).unwrap().trim() != own(name) {
        thread::yield_now();
    }
}

/// Ends a process that holds.
pub(crate) fn end(child: &mut Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

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
        let mut watching = watching(64);
        let mut child = programs.command(program, words).stdout(Stdio::null()).spawn().unwrap();
        let (pids, sample) = settled(&mut watching, expected);
        assert_eq!(pids.len(), expected, "{what}: {pids:?}");
        for pid in pids {
            // By the ids of this namespace, which is the host's.
            assert!(Path::new(&format!("/proc/{pid}")).exists(), "{what}");
        }
        assert!(sample.processes.iter().all(|process| process.switches().is_some()), "{what}");
        let lives = watching.churn().clone();
        assert!(lives.starts >= expected as u64, "{what}: {lives:?}");
        end(&mut child);
        let (pids, _) = settled(&mut watching, 0);
        assert_eq!(pids.len(), 0, "{what}: {pids:?}");
        assert_eq!(watching.collector.kernel().unwrap().slots().0, 0, "{what}");
        assert_eq!(watching.collector.discovery_missed(), 0, "{what}");
        let exits = watching.exits();
        assert!(exits <= watching.churn().starts && exits >= expected as u64, "{what}");
    }
    // In a PID namespace of its own it has another id there.
    let mut watching = watching(64);
    let command = programs.command(NAME, "wait-input");
    let mut child = Command::new("unshare")
        .args(["--pid", "--fork"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let (pids, _) = settled(&mut watching, 1);
    let namespace = |pid: u32| fs::metadata(format!("/proc/{pid}/ns/pid")).unwrap().ino();
    assert_eq!(pids.len(), 1);
    assert_ne!(namespace(pids[0]), namespace(std::process::id()));
    end(&mut child);
}

/// Looks until as many match as expected and no more come, or for five seconds.
fn settled(watching: &mut Agent, expected: usize) -> (Vec<u32>, m8refsvr_agent::model::sample::Sample) {
    let end = Instant::now() + Duration::from_secs(5);
    let mut last = None;
    // Whatever else happens on the machine may be told of too, so that this turns often.
    while Instant::now() < end {
        watching.follow_for(Duration::from_millis(50));
        let sample = watching.collect();
        let pids: Vec<u32> = sample.processes.iter().map(|process| process.identity.pid).collect();
        let is_settled = pids.len() == expected && last.as_ref() == Some(&pids);
        if is_settled {
            return (pids, sample);
        }
        last = Some(pids);
    }
    let sample = watching.collect();
    (last.unwrap_or_default(), sample)
}

const TAKES_A_NAME: Case = Case::new(
    "a process that takes a name has its slot from then on and its own figures at its end",
    &[Bpf],
    takes_a_name,
);

fn takes_a_name() {
    let programs = Programs::new(&[NAME, OTHER]);
    for words in ["nap 20 rename @ nap 30 ready wait-input", "nap 20 exec ./@ nap 30 ready wait-input"] {
        let mut watching = watching(8);
        let mut child = programs.command(OTHER, words).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        // Nobody has looked, and a program knew what the process had until then.
        let kernel = watching.collector.kernel().unwrap();
        let holder = kernel.tracked_process(kernel.slot(Tgid(child.id())).unwrap()).unwrap();
        let first = holder.exit.accounting_at_start;
        assert!(first.voluntary > 0, "{words}: {first:?}");
        assert_eq!(holder.comm, own(NAME).as_bytes(), "{words}");
        let mut usage = Usage::default();
        drop(child.stdin.take());
        usage.wait(child);
        equals(&mut watching, &usage);
    }
}

const OTHER_AGENT: Case =
    Case::new("another agent is not watched under a name that matches", &[Bpf], other_agent);

fn other_agent() {
    const AGENT: &str = "m8refsvr-agent.old";
    let programs = Programs::new(&[AGENT]);
    symlink(programs.path(AGENT), programs.path(NAME)).unwrap();
    let mut watching = watching(8);
    let mut child = programs.command(NAME, "wait-input").spawn().unwrap();
    wait_for_name(child.id(), NAME);
    // The programs know its `comm` alone.
    assert!(watching.collector.kernel().unwrap().slot(Tgid(child.id())).is_some());
    let (pids, _) = settled(&mut watching, 0);
    assert_eq!(pids, [0; 0]);
    assert_eq!((watching.churn().starts, watching.collector.kernel().unwrap().slots().0), (0, 0));
    end(&mut child);
}

const LEAVES: Case =
    Case::new("a process is over when it executes another program or takes another name", &[Bpf], leaves);

fn leaves() {
    let programs = Programs::new(&[NAME, OTHER]);
    let cases = [
        (NAME, "sleep 200 exec ./something-else burn-cpu 300 wait-input"),
        (OTHER, "rename @ sleep 200 rename x burn-cpu 300 wait-input"),
    ];
    for (program, words) in cases {
        let mut watching = watching(8);
        let mut child = programs.command(program, words).spawn().unwrap();
        let pid = child.id();
        let (pids, _) = settled(&mut watching, 1);
        assert_eq!(pids, [pid], "{words}");
        let (pids, _) = settled(&mut watching, 0);
        assert_eq!(pids, [0; 0], "{words}");
        assert_eq!(watching.over.last().unwrap().how, EndKind::Deselected, "{words}");
        assert_eq!((watching.churn().starts, watching.exits()), (1, 0), "{words}");
        assert_eq!(watching.collector.kernel().unwrap().slots().0, 0, "{words}");
        end(&mut child);
        watching.collect();
        // What it did under the other name is not ours.
        let cpu = watching.total(Counter::CpuUser) + watching.total(Counter::CpuSystem);
        assert!(cpu < 250_000_000, "{words}: {cpu}");
    }
}

const BUSY_THREADS: Case =
    Case::new("a process that ends under its busy threads loses nothing", &[Bpf], busy_threads);

fn busy_threads() {
    let programs = Programs::new(&[NAME]);
    let mut watching = watching(64);
    let mut usage = Usage::default();
    usage.run(30, || programs.command(NAME, "burn-cpu-threads 4 sleep 40 exit 0")).unwrap();
    equals(&mut watching, &usage);
}

const THERE_AND_BACK: Case = Case::new(
    "what a process did as another program does not count and what it did before and after counts once",
    &[Bpf],
    there_and_back,
);

fn there_and_back() {
    let programs = Programs::new(&[NAME, OTHER]);
    let cpu = |watching: &Agent| {
        (watching.total(Counter::CpuUser) + watching.total(Counter::CpuSystem)) / 1_000_000
    };
    // What it used as another program is not ours. It uses more than it is asked for where the machine stands still.
    let words =
        "burn-cpu 1000 cpu-time exec ./something-else burn-cpu 200 cpu-time exec ./@ burn-cpu 200 cpu-time";
    let ours = |used: &[u64]| used[2] - (used[1] - used[0]);
    // The other part is 200 ms at least, and that of the programs' start much less.
    let is_near = |watching: &Agent, expected: u64| cpu(watching).abs_diff(expected) < 100;
    let mut unseen = watching(8);
    let mut child = programs.command(NAME, words).stdout(Stdio::piped()).spawn().unwrap();
    let used = numbers(&mut BufReader::new(child.stdout.take().unwrap()), 3);
    Usage::default().wait(child);
    unseen.until_ended(1);
    assert!(is_near(&unseen, ours(&used)), "{}, {used:?}", cpu(&unseen));
    assert_eq!((unseen.churn().starts, unseen.exits()), (1, 1));

    let mut watching = watching(8);
    let words = &format!("cpu-time wait-input {words} wait-input burn-cpu 600 cpu-time");
    let mut child = programs.command(NAME, words).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    numbers(&mut told, 1);
    let before = watching.collect();
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    let used = numbers(&mut told, 3);
    let sample = watching.collect();
    // It is the same process, and was never away for a collection.
    let identities = [&before, &sample].map(|sample| sample.processes.first().map(|it| it.identity));
    assert!(identities[0].is_some() && identities[0] == identities[1], "{identities:?}");
    assert!(is_near(&watching, ours(&used)), "{}, {used:?}", cpu(&watching));
    let of_process = watching.accumulator.process(&identities[0].unwrap()).now.get(Counter::CpuUser).unwrap();
    assert_eq!(of_process, watching.total(Counter::CpuUser));
    drop(child.stdin.take());
    let rest = numbers(&mut told, 1)[0] - used[2];
    Usage::default().wait(child);
    watching.until_ended(1);
    assert!(is_near(&watching, ours(&used) + rest), "{}, {used:?}, {rest}", cpu(&watching));
    assert_eq!((watching.churn().starts, watching.exits()), (1, 1));
}

/// So many lines, a number each.
fn numbers(lines: &mut impl BufRead, count: usize) -> Vec<u64> {
    lines.lines().take(count).map(|line| line.unwrap().parse().unwrap()).collect()
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
    let mut watching = agent_for(LONG, 64);
    let mut usage = Usage::default();
    let mut child = programs
        .command(LONG, "write 4096 burn-cpu 100 fork write 4096 burn-cpu 100 wait-input")
        .spawn()
        .unwrap();
    let (pids, _) = settled(&mut watching, 2);
    assert_eq!(pids.len(), 2);
    drop(child.stdin.take());
    usage.wait(child);
    let (pids, _) = settled(&mut watching, 0);
    assert_eq!(pids.len(), 0);
    assert_eq!((watching.churn().starts, watching.exits()), (2, 2));
    let cpu = watching.total(Counter::CpuUser) + watching.total(Counter::CpuSystem);
    assert!(u128::from(cpu) >= 200_000_000, "{cpu}, {usage:?}");
    // One that executes itself again goes on.
    let switches =
        |watching: &Agent| watching.total(Counter::Voluntary) + watching.total(Counter::Involuntary);
    let before = switches(&watching);
    let usage = during(&mut watching, Duration::from_secs(5), || {
        let mut usage = Usage::default();
        usage
            .run(1, || programs.command(LONG, "ready sleep 20 nap 200 exec ./@_of_a_long_name nap 200"))
            .unwrap();
        usage
    });
    let naps = switches(&watching) - before;
    // But for those of the moments in which the agent decides.
    assert!((350..=usage.switches).contains(&naps), "{naps} of {usage:?}");
    // Daemons whose parents end while they are looked at, or before they can be.
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
        let (pids, _) = settled(&mut watching, 1);
        assert_eq!(pids.len(), 1, "{words}");
        end(&mut child);
        assert_eq!(settled(&mut watching, 0).0, [0; 0], "{words}");
    }
}

const ENDS: Case = Case::new("an exit code a signal and a core are told apart", &[Bpf, CoreFiles], ends);

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
        let mut watching = watching(8);
        // More than this program has, which starts it: its peak would be told as if it were the other's.
        let mut child = programs.command(NAME, &format!("allocate 250 {words}")).spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        watching.until_ended(1);
        let [over] = watching.over.as_slice() else { panic!("{words}: {:?}", watching.over) };
        assert_eq!((over.identity.pid, over.how), (pid, EndKind::Exited(expected)), "{words}");
        assert!(over.peak_bytes.unwrap() >= 250 << 20, "{words}: {over:?}");
        assert!(over.lasted > Duration::ZERO && over.lasted < Duration::from_secs(60), "{words}");
        let [_, counted] = [(), ()].map(|()| watching.churn().exits().find(|&(_, count)| count == 1));
        assert_eq!(counted.unwrap().0.reason(), expected.reason(), "{words}");
    }
}

const OUT_OF_MEMORY: Case =
    Case::new("a process that the OOM killer ends is told from others", &[Bpf, MemoryGroup], out_of_memory);

fn out_of_memory() {
    let (root, limit) = memory_cgroup().unwrap();
    let group = root.join(format!("m8refsvr-test-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    fs::write(group.join(limit), (48_u64 << 20).to_string()).unwrap();
    let programs = Programs::new(&[NAME]);
    let mut watching = watching(8);
    let words = format!("join-cgroup {} allocate 200", group.display());
    let outcome = programs.command(NAME, &words).spawn().unwrap().wait().unwrap();
    watching.until_ended(1);
    fs::remove_dir(&group).unwrap();
    assert!(!outcome.success());
    let [over] = watching.over.as_slice() else { panic!("{:?}", watching.over) };
    assert_eq!(over.how, EndKind::Exited(Exit::Oom));
    assert_eq!(watching.churn().exits().last().unwrap(), (Exit::Oom, 1));
}

const LEADER_ENDS_FIRST: Case =
    Case::new("what threads did that ended first is in the last figures", &[Bpf], leader_ends_first);

fn leader_ends_first() {
    let programs = Programs::new(&[NAME]);
    let mut watching = watching(64);
    let mut usage = Usage::default();
    usage.run(20, || programs.command(NAME, "burn-cpu 20 end-leader burn-cpu 40 write 4096")).unwrap();
    equals(&mut watching, &usage);
}

const WITHOUT_BPF: Case = Case::new(
    "without BPF what a collection saw stays in the total and an end has no reason",
    &[],
    without_bpf,
);

fn without_bpf() {
    let programs = Programs::new(&[NAME, OTHER]);
    let mut watching = Agent::new(collector_of_proc(&own(NAME)));
    let mut child = programs.command(NAME, "burn-cpu 100 wait-input").spawn().unwrap();
    wait_for_name(child.id(), NAME);
    while watching.collect().processes.first().is_none_or(|it| it.cpu_time() < Duration::from_millis(50)) {}
    let cpu = watching.total(Counter::CpuUser) + watching.total(Counter::CpuSystem);
    end(&mut child);
    assert!(watching.collect().processes.is_empty());
    assert_eq!(watching.total(Counter::CpuUser) + watching.total(Counter::CpuSystem), cpu);
    assert_eq!((watching.churn().starts, watching.exits()), (1, 1));
    assert_eq!(watching.over[0].how, EndKind::Exited(Exit::Unknown));
    assert_eq!(watching.churn().exits().last().unwrap(), (Exit::Unknown, 1));

    // One that takes another name lives on.
    let mut child = programs
        .command(OTHER, "rename @ wait-input rename x ready wait-input")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_name(child.id(), NAME);
    assert_eq!(watching.collect().processes.len(), 1);
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(watching.collect().processes.len(), 0);
    assert_eq!((watching.over.last().unwrap().how, watching.exits()), (EndKind::Deselected, 1));
    end(&mut child);
}

const CHILDREN: Case = Case::new(
    "what a child wrote does not count a second time when its parent has waited for it",
    &[Bpf],
    children,
);

fn children() {
    let programs = Programs::new(&[NAME]);
    let written = |watching: &Agent| watching.total(Counter::StorageWrite);
    // None of them is seen alive. wait4 tells what all of a family had, each once.
    let mut watching = watching(64);
    let mut usage = Usage::default();
    usage
        .run(5, || programs.command(NAME, "write 8192 fork-write 1048576 fork-write 65536 write 4096"))
        .unwrap();
    watching.until_ended(15);
    assert_eq!((watching.churn().starts, written(&watching)), (15, usage.written_bytes));
    assert!(usage.written_bytes >= 5 * (1 << 20), "{usage:?}");

    // The parent lives, and goes on.
    let words = "write 8192 ready wait-input fork-write 1048576 ready wait-input write 4096 fork-write 65536 ready wait-input write 8192";
    let step = |child: &mut Child| {
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    };
    for is_there_before in [false, true] {
        let mut early = (!is_there_before).then(|| self::watching(64));
        let mut child = programs.command(NAME, words).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let mut watching = early.take().unwrap_or_else(|| self::watching(64));
        watching.collect();
        let mut before = written(&watching);
        for least in [1 << 20, 4096 + 65536] {
            step(&mut child);
            // Where CPUs are busy, a child that its parent has waited for has yet to tell what it had, and counts at a
            // later collection.
            let end = Instant::now() + Duration::from_secs(10);
            while {
                watching.collect();
                written(&watching) - before < least && Instant::now() < end
            } {}
            let grown = written(&watching) - before;
            assert!((least..least + (1 << 16)).contains(&grown), "{grown} of {least}");
            before = written(&watching);
        }
        drop(child.stdin.take());
        let mut usage = Usage::default();
        usage.wait(child);
        watching.until_ended(3);
        let earlier = if is_there_before { 8192 } else { 0 };
        assert_eq!(written(&watching), usage.written_bytes - earlier);
    }
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
