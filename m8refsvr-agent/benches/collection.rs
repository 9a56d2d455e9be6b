//! What a collection costs in CPU time: what the service does at each interval but for the export, on the processes
//! that run. Beside it the least that asking /proc for the same takes: files that are opened each time, and files that
//! are kept open. `cargo xtask bench` runs it, starts the processes, and reads the line of JSON that it prints.
//!
//! Arguments: the name that matches, and what to measure (`costs`, `growth`).

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench for developers")]

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _, stdin},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use aya::{Btf, Ebpf, maps::Array, programs::Iter};
use m8refsvr_agent::{
    bpf::{Kernel, Options},
    collector::Collector,
    metrics::report::{Exports, Reporter},
    proc::{Proc, stat::Stat, statm::Memory},
    service::self_stats::{self, Collections},
    sys::heap,
    tracker::selector::Selector,
};
use rustix::{
    fs::{CWD, Mode, OFlags, fstat, openat},
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit},
    time::{ClockId, clock_gettime},
};
use serde::Serialize;

/// Measurements of each way, one after the other.
const MEASUREMENTS: usize = 15;
/// And of the one that takes many collections each.
const AFTER_LONG: usize = 5;
/// So often something is done before it is measured: the processor's caches hold hardly all that it needs, and forget
/// what others left there but slowly.
const PASSES: usize = 20;
/// Collections of which the first find everything new. They are more than those after which a process is idle for
/// long (`LONG` in `tracker/idle.rs`).
const WARM_UP: usize = 16;
/// A measurement takes in so many processes at least, so that the clock's own cost does not matter.
const PROCESSES: usize = 200;
/// How many collections memory is watched for, and from which on: by then all buffers have their size.
const COLLECTIONS: usize = 10_000;
const SETTLED: usize = 100;

/// The agent's side of the service, without the ways out.
struct Agent {
    collector: Collector,
    reporter: Reporter,
    collections: Collections,
}

impl Agent {
    fn new(name: &str) -> Self {
        let selector = Selector::new(&[name.to_owned()], &[]).unwrap();
        let options = Options { bpf_fs: None, comms: selector.comms(), ..Options::default() };
        let kernel = Kernel::attach(&options).unwrap();
        Self {
            collector: Collector::new(Proc::new("/proc"), selector, Some(kernel)),
            reporter: Reporter::new(SystemTime::now(), vec![name.to_owned()], None),
            collections: Collections::default(),
        }
    }

    /// One collection and its report; how many processes matched.
    fn collect(&mut self) -> usize {
        let began = Instant::now();
        let sample = self.collector.collect().unwrap();
        self.collections.last = began.elapsed();
        let agent = self_stats::report(&self.collector, self.collections, Exports::default());
        self.reporter.report(&sample, self_stats::machine(&self.collector), agent, true);
        sample.processes.len()
    }
}

/// The files of all processes that a collection needs, opened by path each time.
fn open_each_time(buffer: &mut [u8]) {
    for folder in processes() {
        // One may have ended by now.
        let Ok(stat) = File::open(folder.join("stat")) else { continue };
        let _ = stat.read_at(buffer, 0);
        let Ok(statm) = File::open(folder.join("statm")) else { continue };
        let _ = statm.read_at(buffer, 0);
        let Ok(io) = File::open(folder.join("io")) else { continue };
        let _ = io.read_at(buffer, 0);
        let _ = fs::metadata(folder.join("fd")).map(|folder| folder.size());
    }
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let is_number =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit());
    fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).filter(is_number)
}

/// The files of one process, kept open.
struct Kept {
    stat: File,
    statm: File,
    io: File,
    fd: File,
}

impl Kept {
    fn open(folder: &Path) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self {
            stat: File::open(folder.join("stat")).unwrap(),
            statm: File::open(folder.join("statm")).unwrap(),
            io: File::open(folder.join("io")).unwrap(),
            fd: openat(CWD, folder.join("fd"), flags, Mode::empty()).unwrap().into(),
        }
    }

    fn read(&self, buffer: &mut [u8]) {
        self.stat.read_at(buffer, 0).unwrap();
        self.statm.read_at(buffer, 0).unwrap();
        self.io.read_at(buffer, 0).unwrap();
        fstat(&self.fd).unwrap();
    }
}

/// What the iterator has of each task: less than a collection needs, which wants memory and descriptors too.
const TASK_VALUES: [&[&str]; 12] = [
    &["tgid"],
    &["start_boottime"],
    &["utime"],
    &["stime"],
    &["min_flt"],
    &["maj_flt"],
    &["ioac", "read_bytes"],
    &["ioac", "write_bytes"],
    &["exit_state"],
    &["signal"],
    &["mm"],
    &["files"],
];

/// An iterator in the kernel over all tasks of the machine.
struct Tasks(Ebpf);

impl Tasks {
    fn new(object: &str) -> Self {
        let mut programs = Ebpf::load(&fs::read(object).unwrap()).unwrap();
        let types = m8refsvr_agent::bpf::btf::Btf::of_kernel().unwrap();
        let mut offsets = Array::<_, u32>::try_from(programs.map_mut("OFFSETS").unwrap()).unwrap();
        for (at, path) in (0..).zip(TASK_VALUES) {
            offsets.set(at, types.member_offset("task_struct", path).unwrap(), 0).unwrap();
        }
        Self::program(&mut programs).load("task", &Btf::from_sys_fs().unwrap()).unwrap();
        Self(programs)
    }

    fn program(programs: &mut Ebpf) -> &mut Iter {
        programs.program_mut("tasks").unwrap().try_into().unwrap()
    }

    /// Reads all of them; how many bytes.
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let program = Self::program(&mut self.0);
        let link = program.attach().unwrap();
        let mut tasks = program.take_link(link).unwrap().into_file().unwrap();
        std::iter::repeat_with(|| tasks.read(buffer).unwrap()).take_while(|&read| read > 0).sum()
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, what, rest @ ..] = arguments.as_slice() else {
        println!("not measured: run `cargo xtask bench collection`, which starts what is looked at");
        return;
    };
    heap::begin();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    match what.as_str() {
        "costs" => costs(name, &rest[0]),
        "bare" => bare(name, &rest[0]),
        _ => growth(&mut Agent::new(name)),
    }
}

/// Nanoseconds of CPU time for each way.
fn costs(name: &str, reference: &str) {
    let mut agent = Agent::new(name);
    let matching = (0..WARM_UP).map(|_| agent.collect()).last().unwrap();
    let mut bare = Bare::start(name, reference);
    let folders = matching_processes(name);
    assert_eq!(folders.len(), matching, "other processes are named {name} too");
    let times = times(matching);
    let mut costs = Costs { matching, processes: processes().count() - 1, ..Costs::default() };
    costs.collection = cpu_times(times, || {
        agent.collect();
    });
    costs.kept = bare.measure("kept");
    costs.opened = bare.measure("opened");
    costs.iterated = bare.measure("iterated");
    for _ in 0..AFTER_LONG {
        (0..WARM_UP).for_each(|_| {
            agent.collect();
        });
        wake(&folders);
        costs.after_long_idle.push(cpu_time_once(|| {
            agent.collect();
        }));
    }
    for _ in 0..MEASUREMENTS {
        wake(&folders);
        costs.after_waking.push(cpu_time_once(|| {
            agent.collect();
        }));
        wake(&folders);
        costs.kept_of_woken.extend(bare.measure("kept once"));
    }
    println!("{}", serde_json::to_string(&costs).unwrap());
}

/// What asking /proc and the kernel takes without an agent: a process of its own, as one has not the descriptors for
/// both.
struct Bare {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Bare {
    fn start(name: &str, reference: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([name, "bare", reference]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (questions, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, questions, answers: BufReader::new(answers) }
    }

    fn measure(&mut self, what: &str) -> Vec<u128> {
        writeln!(self.questions, "{what}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It waits for the next question.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Measures what it is asked for, a line each.
fn bare(name: &str, reference: &str) {
    let folders = matching_processes(name);
    let kept: Vec<Kept> = folders.iter().map(|folder| Kept::open(folder)).collect();
    let mut tasks = Tasks::new(reference);
    let times = times(kept.len());
    let (mut small, mut large) = ([0; 4096], vec![0; 1 << 16]);
    for question in stdin().lines() {
        let mut read_kept = || kept.iter().for_each(|files| files.read(&mut small));
        let costs = match question.unwrap().as_str() {
            "kept" => cpu_times(times, read_kept),
            "kept once" => vec![cpu_time_once(&mut read_kept)],
            "opened" => cpu_times(1, || open_each_time(&mut small)),
            _ => cpu_times(times, || {
                let least = kept.len() * TASK_VALUES.len() * size_of::<u64>();
                assert!(tasks.read(&mut large) >= least);
            }),
        };
        println!("{costs:?}");
    }
}

fn matching_processes(name: &str) -> Vec<PathBuf> {
    let is_matching =
        |folder: &PathBuf| fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
    processes().filter(is_matching).collect()
}

/// How often something is done in a measurement.
fn times(matching: usize) -> usize {
    (PROCESSES / matching).max(1)
}

/// What was measured.
#[derive(Default, Serialize)]
struct Costs {
    matching: usize,
    processes: usize,
    /// A collection, where no process has run since the one before.
    collection: Vec<u128>,
    /// Their files, kept open.
    kept: Vec<u128>,
    /// The files of all processes, opened each time.
    opened: Vec<u128>,
    /// All tasks, by an iterator.
    iterated: Vec<u128>,
    /// A collection, where all threads of all matching processes have run, for the first time since many collections.
    after_long_idle: Vec<u128>,
    /// A collection, where they have run since the one before.
    after_waking: Vec<u128>,
    /// Their files then.
    kept_of_woken: Vec<u128>,
}

/// Has all threads of processes run for a moment: they stop, and go on.
fn wake(folders: &[PathBuf]) {
    for (signal, state) in [(Signal::STOP, b'T'), (Signal::CONT, b'S')] {
        for folder in folders {
            let pid = folder.file_name().unwrap().to_str().unwrap().parse().unwrap();
            kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        }
        for folder in folders {
            while Stat::parse(&fs::read(folder.join("stat")).unwrap()).unwrap().state != state {
                sleep(Duration::from_millis(1));
            }
        }
        // The first thread of a process may not be its last to get there.
        sleep(Duration::from_millis(20));
    }
}

/// What something costs that is done so many times, nanoseconds of CPU time of this process. It is done before, so that
/// it finds in the processor's caches what it left there.
fn cpu_times(times: usize, mut work: impl FnMut()) -> Vec<u128> {
    (0..PASSES).for_each(|_| work());
    let mut measure = || cpu_time_once(|| (0..times).for_each(|_| work())) / times as u128;
    (0..MEASUREMENTS).map(|_| measure()).collect()
}

fn cpu_time_once(work: impl FnOnce()) -> u128 {
    let now = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
    let before = now();
    work();
    (now() - before).as_nanos()
}

/// Resident bytes from one collection on, and after many more.
fn growth(agent: &mut Agent) {
    let resident = || {
        let this = Proc::new("/proc").process(std::process::id()).unwrap();
        Memory::read(&this, &mut Vec::new()).unwrap().resident_bytes
    };
    (0..SETTLED).for_each(|_| {
        agent.collect();
    });
    let before = resident();
    let matching = (0..COLLECTIONS).map(|_| agent.collect()).last().unwrap();
    let after = resident();
    println!(
        "{{\"matching\":{matching},\"collections\":{COLLECTIONS},\"before\":{before},\"after\":{after}}}"
    );
}
