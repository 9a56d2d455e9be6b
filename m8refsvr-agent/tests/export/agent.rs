//! The agent as users start it, and processes for it to watch: this test program again, under other names.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::{
    process::{Pid, Resource, Rlimit, Signal, getpid, kill_process, setrlimit},
    time::{ClockId, clock_gettime},
};
use tempfile::TempDir;

use crate::server::{self, PATIENCE};

/// The first argument by which this program knows that it is a process to be watched.
pub(crate) const WATCHED: &str = "--watched";
/// The first argument by which this program knows that it is the parent of such a process, whose program comes next.
pub(crate) const PARENT: &str = "--parent";

/// The agent with these arguments, and no variable of the machine's.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m8refsvr-agent"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    command
}

/// Runs the agent to its end: its exit code, and what it says on standard error.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String) {
    told(&command(arguments).output().unwrap())
}

/// How a program ended, and what it said.
pub(crate) fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A running agent, whose log goes to a file; it ends when dropped.
pub(crate) struct Agent {
    process: Child,
    log: PathBuf,
    _folder: TempDir,
}

impl Agent {
    /// Starts it, logging at `debug`.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts it with variables.
    pub(crate) fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = command(arguments);
        command.args(["--log-level", "debug", "--log-file"]).arg(&log).envs(variables.iter().copied());
        let process = command.spawn().unwrap();
        Self { process, log, _folder: folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log_path(&self) -> &Path {
        &self.log
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How many lines of its log contain a text.
    pub(crate) fn said(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until so many lines of its log contain a text.
    pub(crate) fn wait_for(&self, text: &str, times: usize) {
        server::wait_for(
            &format!("{text:?} {times} times in the agent's log"),
            || (self.said(text) >= times).then_some(()),
            || self.log(),
        );
    }

    /// As [`Self::wait_for`], for what takes minutes.
    pub(crate) fn wait_for_long(&self, text: &str, times: usize) {
        let end = Instant::now() + Duration::from_secs(600);
        while self.said(text) < times {
            assert!(Instant::now() < end, "waited for {text:?} {times} times: {}", self.log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// How many looks it took.
    pub(crate) fn looks(&self) -> usize {
        self.said("processes in ")
    }

    /// Waits for so many looks more.
    pub(crate) fn wait_for_collections(&self, more: usize) {
        self.wait_for("processes in ", self.looks() + more);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for its end: its exit code, and how long that took.
    pub(crate) fn wait(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return (status.code(), start.elapsed());
            }
            assert!(start.elapsed() < PATIENCE, "the agent does not end: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A name that no other process has.
pub(crate) struct Name {
    folder: TempDir,
    program: PathBuf,
}

impl Name {
    pub(crate) fn new(text: &str) -> Self {
        static NAMES: AtomicUsize = AtomicUsize::new(0);
        // On the disk that the checkout is on: /tmp may be in memory, where nothing is accounted as written.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let program = folder.path().join(format!(
            "{text}-{}-{}-",
            std::process::id(),
            NAMES.fetch_add(1, Ordering::Relaxed)
        ));
        // Not a copy: who is just being started by another thread would hold it open for writing, and it could not be
        // executed.
        fs::hard_link(std::env::current_exe().unwrap(), &program).unwrap();
        Self { folder, program }
    }

    pub(crate) fn text(&self) -> &str {
        self.program.file_name().unwrap().to_str().unwrap()
    }

    /// A folder for processes of this name.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a process of this name; it waits to be told what to do.
    pub(crate) fn start(&self) -> Watched {
        Watched::start(Command::new(&self.program).arg(WATCHED))
    }

    /// As [`Self::start`], below a parent of another name. It has started when this returns.
    pub(crate) fn start_accounted(&self) -> Accounted {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut accounted = Accounted(Watched::start(command.arg(PARENT).arg(&self.program)));
        accounted.tell("switch 1 1");
        accounted
    }
}

/// A process to be watched, and its parent, to which the kernel tells in the end what the process had.
pub(crate) struct Accounted(Watched);

impl Accounted {
    /// Has it do something; returns when it is done.
    pub(crate) fn tell(&mut self, order: &str) {
        self.0.tell(order);
    }

    /// Ends it. The context switches that it had with all its threads, voluntary and involuntary.
    pub(crate) fn end(mut self) -> [u64; 2] {
        drop(self.0.orders.take());
        let mut answer = String::new();
        self.0.answers.read_line(&mut answer).unwrap();
        let numbers: Vec<u64> = answer.split_whitespace().map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    }
}

/// A process to be watched; it ends when dropped.
pub(crate) struct Watched {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Watched {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, orders, answers }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Has it do something; returns when it is done.
    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    }

    /// Has it do what it does not survive.
    pub(crate) fn end_by(mut self, order: &str) -> ExitStatus {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        self.process.wait().unwrap()
    }

    /// Ends it by a signal.
    pub(crate) fn kill(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}

/// What the parent of such a process does: waits for its end, and tells the context switches that the kernel has
/// accounted for it. The process has the parent's orders.
pub(crate) fn be_parent() {
    let program = std::env::args_os().nth(2).unwrap();
    assert!(Command::new(program).arg(WATCHED).status().unwrap().success());
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    println!("{} {}", usage.voluntary_context_switches(), usage.involuntary_context_switches());
}

/// Waits and computes in turns.
fn switch(times: u32) {
    for time in 0..times {
        thread::sleep(Duration::from_micros(200));
        let end = Instant::now() + Duration::from_micros(if time % 10 == 0 { 5000 } else { 100 });
        while Instant::now() < end {}
    }
}

/// What such a process does: `spin MILLISECONDS` of CPU time, `write BYTES PATH`, `switch THREADS TIMES` at least to
/// other threads, `eat MEBIBYTES` of memory, `join FOLDER` of a control group, `become USER`, until there are no more orders, or one
/// ends it: `exit CODE`, or `crash FOLDER`, where its memory is written.
pub(crate) fn be_watched() {
    for order in std::io::stdin().lines() {
        let order = order.unwrap();
        let words: Vec<&str> = order.split(' ').collect();
        match words[0] {
            "spin" => {
                let used = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
                let end = used() + Duration::from_millis(words[1].parse().unwrap());
                while used() < end {}
            }
            "switch" => {
                let times = words[2].parse().unwrap();
                let threads: Vec<_> = (0..words[1].parse().unwrap())
                    .map(|_: u32| thread::spawn(move || switch(times)))
                    .collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            }
            "eat" => {
                let memory = vec![1_u8; words[1].parse::<usize>().unwrap() << 20];
                assert_eq!(std::hint::black_box(memory)[0], 1);
            }
            "join" => {
                let group = Path::new(words[1]).join("cgroup.procs");
                fs::write(group, std::process::id().to_string()).unwrap();
            }
            "become" => {
                let user = nix::unistd::Uid::from_raw(words[1].parse().unwrap());
                nix::unistd::setuid(user).unwrap();
            }
            "exit" => std::process::exit(words[1].parse().unwrap()),
            "crash" => {
                setrlimit(Resource::Core, Rlimit { current: None, maximum: None }).unwrap();
                std::env::set_current_dir(words[1]).unwrap();
                // The first one finds the standard library's handler, which leaves it to the kernel from then on.
                loop {
                    kill_process(getpid(), Signal::SEGV).unwrap();
                }
            }
            "write" => fs::write(words[2], vec![1; words[1].parse().unwrap()]).unwrap(),
            other => panic!("{other} is no order"),
        }
        println!("done");
    }
}
