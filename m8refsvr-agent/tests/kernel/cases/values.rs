//! What /proc knows, and processes that come and go.

use std::{
    fs,
    io::Read as _,
    os::fd::AsRawFd as _,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use m8refsvr_agent::{
    model::counters::Counter,
    proc::{Proc, io},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, setrlimit, waitid};
use serde_json::Value;

use crate::{
    Case,
    Need::{Bpf, SecondCpu},
    collecting::{agent_for, collector, collector_of_proc, document, metrics, of},
    counted::Counted as _,
    load::{Load, Programs},
};

pub(crate) const CASES: &[Case] = &[
    CPU,
    MEMORY,
    FILES,
    MANY_FILES,
    ENDED,
    ZOMBIE,
    WITHOUT_LEADER,
    CAME_BETWEEN,
    WITHOUT_DESCRIPTORS,
    WITH_FEW_DESCRIPTORS,
    READ_WRITE,
];

const CPU: Case =
    Case::new("a process that spins reads what the scheduler gave it and a stopped one 0", &[SecondCpu], cpu);

fn cpu() {
    let mut load = Load::start("M8RefSvr_cpu");
    let pid = load.pid();
    let mut collector = collector_of_proc("M8RefSvr_cpu");
    // As the scheduler has it.
    let seconds = || {
        let schedstat = |task: fs::DirEntry| fs::read_to_string(task.path().join("schedstat")).unwrap();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| schedstat(task.unwrap()));
        tasks.map(|text| text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9).sum::<f64>()
    };
    let mut usage = || {
        let (first, before, start) = (collector.collect().unwrap(), seconds(), Instant::now());
        thread::sleep(Duration::from_secs(1));
        let (second, after, end) = (collector.collect().unwrap(), seconds(), Instant::now());
        let usage = metrics(&document(&collector, &first, &second), pid)["cpu_usage"].as_f64().unwrap();
        (usage, (after - before) / (end - start).as_secs_f64() * 100.0)
    };
    assert_eq!(usage().0, 0.0, "of one that waits");
    load.run("burn-cpu-on 1");
    let (spinning, expected) = usage();
    // /proc has it in hundredths of a second.
    assert!(expected > 10.0 && (spinning - expected).abs() < 3.0, "{spinning}, not {expected}");
    load.stop();
    assert_eq!(usage().0, 0.0, "of one that is stopped");
}

const MEMORY: Case = Case::new("memory is what the kernel adds up, not its estimate", &[], memory);

fn memory() {
    // An estimate is right by chance.
    let loads: Vec<Load> = (0..20).map(|_| Load::start("M8RefSvr_memory")).collect();
    let mut collector = collector_of_proc("M8RefSvr_memory");
    let sample = collector.collect().unwrap();
    for load in &loads {
        let status = fs::read_to_string(format!("/proc/{}/status", load.pid())).unwrap();
        let bytes = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
        };
        let process = of(&sample, load.pid());
        assert_eq!(process.resident_bytes.unwrap(), bytes("VmRSS:"));
        assert_eq!(process.virtual_bytes.unwrap(), bytes("VmSize:"));
    }
}

const FILES: Case = Case::new("pipes and sockets are open files too", &[], files);

fn files() {
    let mut load = Load::start("M8RefSvr_files");
    let pid = load.pid();
    let mut collector = collector_of_proc("M8RefSvr_files");
    let mut count = || of(&collector.collect().unwrap(), pid).open_files.unwrap();
    let before = count();
    // 25 pipes and 25 pairs of sockets, two descriptors each.
    load.run("open-pipes-and-sockets 25");
    assert_eq!(count(), before + 100);
    load.run("close-files");
    assert_eq!(count(), before);
}

const MANY_FILES: Case = Case::new("ten thousand open files are counted", &[], many_files);

fn many_files() {
    let mut load = Load::start("M8RefSvr_many");
    let mut collector = collector_of_proc("M8RefSvr_many");
    let before = of(&collector.collect().unwrap(), load.pid()).open_files.unwrap();
    load.run("open-pipes-and-sockets 2500");
    assert_eq!(of(&collector.collect().unwrap(), load.pid()).open_files.unwrap(), before + 10_000);
}

const ENDED: Case =
    Case::new("a process that ended between the collections is in neither list nor sums", &[Bpf], ended);

fn ended() {
    let (staying, ending) = (Load::start("M8RefSvr_ends"), Load::start("M8RefSvr_ends"));
    let mut collector = collector("M8RefSvr_ends");
    let first = collector.collect().unwrap();
    assert_eq!(first.processes.len(), 2);
    assert_eq!(collector.snapshot().unwrap().tracked.len(), 2);
    drop(ending);
    let second = collector.collect().unwrap();
    let document = document(&collector, &first, &second);
    assert_eq!(document["metrics"]["process_count"], 1);
    assert_eq!(document["processes"][0]["pid"], staying.pid());
    assert_eq!(document["agent"]["warnings"].as_array().unwrap().len(), 0, "{document}");
    let slots: Vec<u32> = collector.snapshot().unwrap().tracked.iter().map(|slot| slot.tgid.0).collect();
    assert_eq!(slots, [staying.pid()]);
}

const WITHOUT_LEADER: Case =
    Case::new("a process whose first thread has ended is read by another", &[], without_leader);

fn without_leader() {
    // A name that only the executable shows, as `comm` has no room for it.
    let name = "M8RefSvr_leader_of_threads";
    let mut load = Load::start(name);
    let pid = load.pid();
    let mut collector = collector_of_proc(name);
    load.run("open-pipes-and-sockets 5");
    let before = of(&collector.collect().unwrap(), pid).clone();
    load.run("end-leader");
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
        thread::yield_now();
    }
    let sample = collector.collect().unwrap();
    let after = of(&sample, pid);
    assert_eq!(&*after.name, name);
    assert_eq!(after.open_files, before.open_files);
    assert_eq!(after.threads, 1);
    assert!(after.resident_bytes.unwrap() > 0 && after.virtual_bytes.unwrap() > 0);
    assert_eq!(sample.missing_values.sentences(), [""; 0]);
}

const CAME_BETWEEN: Case = Case::new(
    "what a process did before it was first seen is absent, and a warning says so",
    &[Bpf],
    came_between,
);

fn came_between() {
    let mut collector = collector("M8RefSvr_came");
    let first = collector.collect().unwrap();
    let load = Load::start("M8RefSvr_came");
    let second = collector.collect().unwrap();
    let document = document(&collector, &first, &second);
    let metrics = metrics(&document, load.pid());
    assert_eq!(metrics.get("block_write_bytes"), None);
    assert!(metrics["cpu_usage"].as_f64().is_some() && metrics["voluntary_ctx_switches"].as_u64().is_some());
    let warning = document["agent"]["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("block_write_bytes") && warning.contains("seen at the second collection only"),
        "{warning}"
    );
}

const WITHOUT_DESCRIPTORS: Case =
    Case::new("without descriptors the agent says so and ends", &[], without_descriptors);

fn without_descriptors() {
    let load = Load::start("M8RefSvr_limit");
    for limit in 4..40 {
        let script = format!(
            "ulimit -n {limit}; exec \"$0\" --once --no-export --sample 0.01 --process M8RefSvr_limit"
        );
        let agent = env!("CARGO_BIN_EXE_m8refsvr-agent");
        let output = std::process::Command::new("sh").args(["-c", &script, agent]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => assert!(String::from_utf8_lossy(&output.stdout).contains(&load.pid().to_string())),
            // 127: not even the loader of programs could open what it needs.
            Some(5 | 127) => {
                assert!(!printed.contains("panicked") && !printed.is_empty(), "{limit}: {printed}")
            }
            other => panic!("{limit}: exit code {other:?}: {printed}"),
        }
    }
}

const WITH_FEW_DESCRIPTORS: Case = Case::new(
    "with too few descriptors to keep files open all processes are read all the same",
    &[],
    with_few_descriptors,
);

fn with_few_descriptors() {
    let loads: Vec<Load> = (0..20).map(|_| Load::start("M8RefSvr_few")).collect();
    // None, some, all.
    for limit in [64, 290, 1000] {
        let script = format!(
            "ulimit -n {limit}; exec \"$0\" --once --no-export --ebpf off --sample 0.01 --process M8RefSvr_few"
        );
        let agent = env!("CARGO_BIN_EXE_m8refsvr-agent");
        let output = std::process::Command::new("sh").args(["-c", &script, agent]).output().unwrap();
        assert!(output.status.success(), "{limit}: {output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        for load in &loads {
            let values = metrics(&document, load.pid());
            for key in ["open_file_descriptors", "memory_rss", "disk_write_bytes", "cpu_usage"] {
                assert!(values[key].is_number(), "{limit}: {key} in {values}");
            }
        }
    }
    // Where they become too few while files are kept open, one collection fails, and the next has those descriptors.
    let mut collector = collector_of_proc("M8RefSvr_few");
    assert_eq!(collector.collect().unwrap().processes.len(), loads.len());
    let limit = getrlimit(Resource::Nofile);
    let next = fs::File::open("/").unwrap();
    let next = u64::try_from(next.as_raw_fd()).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(next), ..limit }).unwrap();
    let outcomes = [collector.collect(), collector.collect()];
    setrlimit(Resource::Nofile, limit).unwrap();
    let [first, second] = outcomes;
    assert!(first.is_err());
    assert_eq!(second.unwrap().processes.len(), loads.len());
}

const ZOMBIE: Case = Case::new("a zombie is no process", &[], zombie);

fn zombie() {
    let load = Load::start("M8RefSvr_zombie");
    let mut collector = collector_of_proc("M8RefSvr_zombie");
    assert_eq!(collector.collect().unwrap().processes.len(), 1);
    load.signal(Signal::KILL);
    // Waits for its end without taking it in.
    load.wait_for(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    assert!(std::path::Path::new(&format!("/proc/{}", load.pid())).exists());
    assert_eq!(collector.collect().unwrap().processes.len(), 0);
}

const READ_WRITE: Case = Case::new(
    "what read and write calls moved is what the kernel has of a process, also of one that exited",
    &[Bpf],
    read_write,
);

fn read_write() {
    let programs = Programs::new(&["@"]);
    let mut watching = agent_for("@", 64);
    let mut process = programs
        .command("@", "write 100000 ready wait-input write 50000")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let pid = process.id();
    let of_kernel = || {
        let process = Proc::new("/proc").process(pid).unwrap();
        io::read(&process, &mut Vec::new()).unwrap()
    };
    let living = of_kernel();
    let sample = watching.collect();
    let seen = of(&sample, pid);
    assert!(living.wchar >= 100_000 && living.syscw >= 2, "{living:?}");
    assert_eq!(seen.counter(Counter::CallRead), Some(living.rchar));
    assert_eq!(seen.counter(Counter::CallWrite), Some(living.wchar));
    assert_eq!(seen.counter(Counter::ReadCalls), Some(living.syscr));
    assert_eq!(seen.counter(Counter::WriteCalls), Some(living.syscw));

    drop(process.stdin.take());
    waitid(WaitId::Pid(Pid::from_child(&process)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    // The kernel keeps it until somebody waits for the process.
    let exited = of_kernel();
    assert!(exited.wchar >= living.wchar + 50_000 && exited.syscw > living.syscw, "{exited:?}");
    watching.until_ended(1);
    assert_eq!(watching.total(Counter::CallRead), exited.rchar);
    assert_eq!(watching.total(Counter::CallWrite), exited.wchar);
    assert_eq!(watching.total(Counter::ReadCalls), exited.syscr);
    assert_eq!(watching.total(Counter::WriteCalls), exited.syscw);
    process.wait().unwrap();
}
