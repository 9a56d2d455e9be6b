//! Processes that have not run since the last collection.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    thread,
    time::Duration,
};

use m8refsvr_agent::{
    collector::Collector,
    model::counters::Counter,
    proc::{Proc, io, stat::Stat},
    sys::boot_clock::of_ticks,
};

use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{
    Case,
    Need::{Bpf, SecondCpu},
    collecting::{collector, of},
    counted::{Counted as _, counters_of},
    load::Load,
};

pub(crate) const CASES: &[Case] = &[WAKES, SPINS, TRACED, MEMORY];

/// The files of a process that this one has open.
fn kept(pid: u32) -> Vec<String> {
    let folder = format!("/proc/{pid}/");
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
    let mut names: Vec<String> =
        links.filter_map(|link| Some(link.to_str()?.strip_prefix(&folder)?.to_owned())).collect();
    names.sort_unstable();
    names
}

/// Collects until the process is taken to be idle for long.
fn let_rest(collector: &mut Collector, pid: u32) {
    for _ in 0..100 {
        collector.collect().unwrap();
        if kept(pid) == ["fd", "statm", "task"] {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("process {pid} does not rest; open of it are {:?}", kept(pid));
}

const WAKES: Case =
    Case::new("what a process does after it was idle for long is seen at the next collection", &[Bpf], wakes);

fn wakes() {
    let mut load = Load::start("M8RefSvr_wakes");
    let pid = load.pid();
    let mut collector = collector("M8RefSvr_wakes");
    let before = of(&collector.collect().unwrap(), pid).clone();
    assert_eq!(kept(pid), ["fd", "io", "stat", "statm", "task"]);
    let_rest(&mut collector, pid);
    load.run("burn-cpu 50");
    load.run("start-switching 3");
    load.run("open-pipes-and-sockets 25");
    load.run("stop-switching");
    load.run("write-direct 1 4");
    // Who waits for a thread goes on a little before it has ended.
    while fs::read_dir(format!("/proc/{pid}/task")).unwrap().count() > 1 {
        thread::sleep(Duration::from_millis(1));
    }
    load.stop();
    let after = of(&collector.collect().unwrap(), pid).clone();
    assert_eq!(kept(pid), ["fd", "io", "stat", "statm", "task"]);
    assert_eq!(after.open_files.unwrap(), before.open_files.unwrap() + 100);
    let process = Proc::new("/proc").process(pid).unwrap();
    let mut buffer = Vec::new();
    let stat = Stat::read(&process, &mut buffer).unwrap();
    let faults = [Counter::MinorFaults, Counter::MajorFaults].map(|kind| after.counter(kind).unwrap());
    assert_eq!((after.threads, faults), { (stat.threads, [stat.minor_faults, stat.major_faults]) });
    let cpu =
        [Counter::CpuUser, Counter::CpuSystem].map(|mode| Duration::from_nanos(after.counter(mode).unwrap()));
    assert_eq!(cpu, [stat.user_ticks, stat.system_ticks].map(of_ticks));
    let used = after.cpu_time();
    // The kernel counts hundredths of a second, in each mode.
    assert!(used >= before.cpu_time() + Duration::from_millis(30), "{used:?}");
    assert_eq!(after.io(), counters_of(&io::read(&process, &mut buffer).unwrap()));
    assert!(
        after.counter(Counter::StorageWrite)
            >= before.counter(Counter::StorageWrite).map(|it| it + (4 << 20))
    );
}

const SPINS: Case =
    Case::new("a process that runs and never leaves its CPU is not idle", &[Bpf, SecondCpu], spins);

fn spins() {
    let mut load = Load::start("M8RefSvr_spins");
    let mut collector = collector("M8RefSvr_spins");
    // Where this thread is, so that it does not disturb the process that it collects.
    let all = sched_getaffinity(None).unwrap();
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first).unwrap();
    load.run("burn-cpu-on 1");
    let mut collect = || {
        let sample = collector.collect().unwrap();
        let process = of(&sample, load.pid());
        (process.switches().unwrap(), process.counter(Counter::CpuUser))
    };
    // In some of these times nothing else wants its CPU.
    let mut undisturbed = 0;
    let mut before = collect();
    for _ in 0..300 {
        thread::sleep(Duration::from_millis(30));
        let now = collect();
        if now.0 == before.0 {
            undisturbed += 1;
            assert!(now.1 > before.1, "it spun for 30 ms: {now:?} after {before:?}");
        }
        before = now;
        if undisturbed == 5 {
            break;
        }
    }
    sched_setaffinity(None, &all).unwrap();
    assert_eq!(undisturbed, 5, "something disturbed it all the time");
}

const TRACED: Case =
    Case::new("threads of an idle process that its tracer has reaped are no longer counted", &[Bpf], traced);

fn traced() {
    let mut load = Load::start("M8RefSvr_traced");
    let pid = load.pid();
    let mut collector = collector("M8RefSvr_traced");
    let threads = |collector: &mut Collector| of(&collector.collect().unwrap(), pid).threads;
    let before = threads(&mut collector);
    load.run("start-switching 2");
    let ids: Vec<Pid> = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .filter(|&thread| thread != pid)
        .map(|thread: u32| Pid::from_raw(thread.cast_signed()))
        .collect();
    ids.iter().for_each(|&thread| ptrace::seize(thread, ptrace::Options::empty()).unwrap());
    load.run("stop-switching");
    let_rest(&mut collector, pid);
    assert_eq!((ids.len(), threads(&mut collector)), (2, before + 2), "nobody has waited for them");
    for thread in ids {
        let ended = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(ended, WaitStatus::Exited(..)), "{ended:?}");
    }
    assert_eq!(threads(&mut collector), before);
}

const MEMORY: Case = Case::new("memory of an idle process that others give or take is seen", &[Bpf], memory);

fn memory() {
    let mut load = Load::start("M8RefSvr_given");
    let pid = load.pid();
    // The stack of a thread that has ended stays for the next one.
    load.run("switch 1 1");
    let mut collector = collector("M8RefSvr_given");
    let_rest(&mut collector, pid);
    let before = of(&collector.collect().unwrap(), pid).resident_bytes.unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let unused = maps.lines().find_map(|line| {
        let (from, rest) = line.split_once('-')?;
        let (to, rest) = rest.split_once(' ')?;
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        (rest.starts_with("rw-p") && rest.contains(" 0 ") && to - from >= 1 << 20).then_some(from)
    });
    const PAGES: u64 = 200;
    let memory = File::options().write(true).open(format!("/proc/{pid}/mem")).unwrap();
    for page in 0..PAGES {
        memory.write_all_at(&[0], unused.unwrap() + page * 4096).unwrap();
    }
    drop(memory);
    let after = of(&collector.collect().unwrap(), pid).resident_bytes.unwrap();
    // Between Linux 6.2 and the middle of 2025 the kernel has but an estimate.
    assert!(after >= before + (PAGES - 64) * 4096, "{after} after {before}");
    assert_eq!(kept(pid), ["fd", "statm", "task"], "it has not run");
}
