//! A process that does what a test tells it to: this test program again, under another name. It reads a command a
//! line and answers each with a line when it is done, so that a test knows when to look and never waits for luck.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt as _, OpenOptionsExt as _},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use m8refsvr_agent::bpf::Switches;
use nix::sys::resource::{UsageWho, getrusage};
use rustix::{
    process::{
        Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process, setpriority_process,
        setrlimit, waitid,
    },
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// The first argument by which this program knows that it is an actor.
pub(crate) const ARGUMENT: &str = "--actor";
const O_DIRECT: i32 = 0o40000;
/// Bytes in one write of an actor.
pub(crate) const BLOCK: usize = 1 << 20;

/// The actor, as the test sees it.
pub(crate) struct Actor {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Actor {
    /// Starts an actor with this name.
    pub(crate) fn start(name: impl AsRef<OsStr>) -> Self {
        Self::start_as(name, |command| command)
    }

    /// Starts an actor, with something done to the command before.
    pub(crate) fn start_as(
        name: impl AsRef<OsStr>,
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let folder = work_folder();
        let program = folder.path().join(name.as_ref());
        // A link has the same text, and its own name.
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut command = Command::new(&program);
        command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = change(&mut command).spawn().unwrap();
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut actor = Self { process, commands, answers, folder };
        // Once it answers, it has its name.
        actor.tell("nothing");
        actor
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A folder on a disk, for this actor alone.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has it do something; returns when it is done, with the rest of its answer.
    pub(crate) fn tell(&mut self, command: &str) -> String {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer = answer.trim_end();
        let rest = answer.strip_prefix("done");
        rest.unwrap_or_else(|| panic!("{command:?} was answered by {answer:?}")).trim_start().to_owned()
    }

    /// Its switches by `getrusage`, at a moment at which it runs.
    pub(crate) fn usage(&mut self) -> Switches {
        let answer = self.tell("usage");
        let mut numbers = answer.split(' ').map(|number| number.parse().unwrap());
        Switches { voluntary: numbers.next().unwrap(), involuntary: numbers.next().unwrap() }
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Stops it; returns once all its threads have stopped.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        self.wait_for(WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT);
    }

    /// Waits until it changes its state.
    pub(crate) fn wait_for(&self, change: WaitIdOptions) {
        waitid(WaitId::Pid(Pid::from_child(&self.process)), change).unwrap();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        drop(self.commands.take());
        // One that was stopped does not read the end of its commands.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder on the disk that the checkout is on: /tmp may be in memory, where no block I/O happens.
pub(crate) fn work_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("actor-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// What the process does that is the actor.
pub(crate) fn act() {
    let mut actor = Acting::default();
    loop {
        // Without a lock that a thread which ends would keep.
        let mut line = String::new();
        if !std::io::stdin().read_line(&mut line).is_ok_and(|length| length > 0) {
            return;
        }
        let line = line.trim_end();
        let words: Vec<&str> = line.split(' ').collect();
        if !answer(&actor.follow(&words)) {
            return;
        }
    }
}

/// Says that a command was followed; whether anybody listens.
fn answer(rest: &str) -> bool {
    let mut out = std::io::stdout();
    writeln!(out, "done {rest}").and_then(|()| out.flush()).is_ok()
}

/// What an actor holds from one command to the next.
#[derive(Default)]
struct Acting {
    files: Vec<OwnedFd>,
    stop: Arc<AtomicBool>,
    background: Vec<JoinHandle<()>>,
}

impl Acting {
    fn follow(&mut self, words: &[&str]) -> String {
        let number = |at: usize| words[at].parse::<usize>().unwrap();
        match words[0] {
            "nothing" => {}
            // Its own switches, as the kernel has them for who waits for its end.
            "usage" => {
                let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
                let (voluntary, involuntary) =
                    (usage.voluntary_context_switches(), usage.involuntary_context_switches());
                return format!("{voluntary} {involuntary}");
            }
            // Threads that wait and compute in turns, and end.
            "work" => wait_for((0..number(1)).map(|_| spawn_worker(number(2))).collect()),
            // Threads that go on until `rest`.
            "start" => {
                self.stop.store(false, Ordering::Relaxed);
                for _ in 0..number(1) {
                    let stop = Arc::clone(&self.stop);
                    self.background.push(thread::spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            work(1);
                        }
                    }));
                }
            }
            "rest" => {
                self.stop.store(true, Ordering::Relaxed);
                wait_for(std::mem::take(&mut self.background));
            }
            "spin" => {
                let end = Instant::now() + Duration::from_millis(number(1) as u64);
                while Instant::now() < end {}
            }
            // Until it has had so much more CPU time.
            "burn" => {
                let used = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
                let end = used() + Duration::from_millis(number(1) as u64);
                while used() < end {}
            }
            // Spins in the background until it is ended, on one CPU, before all others.
            "spin-for-ever" => {
                let mut cpus = CpuSet::new();
                cpus.set(number(1));
                sched_setaffinity(None, &cpus).unwrap();
                setpriority_process(None, -20).unwrap();
                thread::spawn(|| {
                    loop {
                        std::hint::spin_loop();
                    }
                });
            }
            "open" => {
                let limit = getrlimit(Resource::Nofile);
                setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
                for _ in 0..number(1) {
                    let (reader, writer) = std::io::pipe().unwrap();
                    self.files.extend([reader.into(), writer.into()]);
                    let (one, other) = UnixStream::pair().unwrap();
                    self.files.extend([one.into(), other.into()]);
                }
            }
            "close" => self.files.clear(),
            // Files of so many blocks each, written by as many threads at once past the page cache.
            "write" => {
                let folder = PathBuf::from(words[3]);
                let blocks = number(2);
                let write = |thread: usize| {
                    let path = folder.join(format!("written-{}-{thread}", std::process::id()));
                    thread::spawn(move || write_direct(&path, blocks))
                };
                wait_for((0..number(1)).map(write).collect());
            }
            // The same few bytes of files, over and over, by as many threads at once: as many requests as can be.
            "rewrite" => {
                let (times, bytes, folder) = (number(2), number(3), PathBuf::from(words[4]));
                let write = |thread: usize| {
                    let path = folder.join(format!("rewritten-{}-{thread}", std::process::id()));
                    thread::spawn(move || rewrite_direct(&path, times, bytes))
                };
                wait_for((0..number(1)).map(write).collect());
            }
            "overwrite" => write_direct(Path::new(words[1]), number(2)),
            "read" => read_direct(Path::new(words[1])),
            // The first thread ends, and another follows the commands from here on.
            "end-leader" => {
                thread::spawn(|| {
                    answer("");
                    act();
                    std::process::exit(0);
                });
                // SAFETY: ends this thread alone; it holds nothing that others wait for.
                #[expect(unsafe_code, reason = "no library ends a thread without its process")]
                unsafe {
                    libc::syscall(libc::SYS_exit, 0);
                }
            }
            other => panic!("{other} is no command"),
        }
        String::new()
    }
}

fn spawn_worker(rounds: usize) -> JoinHandle<()> {
    thread::spawn(move || work(rounds))
}

/// Waits and computes in turns: voluntary switches, and with more threads than CPUs involuntary ones.
fn work(rounds: usize) {
    for round in 0..rounds {
        thread::sleep(Duration::from_micros(200));
        let end = Instant::now() + Duration::from_micros(if round % 10 == 0 { 5000 } else { 100 });
        while Instant::now() < end {}
        thread::yield_now();
    }
}

fn wait_for(threads: Vec<JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn write_direct(path: &Path, blocks: usize) {
    let mut file = OpenOptions::new().create(true).write(true).custom_flags(O_DIRECT).open(path).unwrap();
    let mut memory = Vec::new();
    let block = aligned(&mut memory);
    for _ in 0..blocks {
        file.write_all(block).unwrap();
    }
}

fn rewrite_direct(path: &Path, times: usize, bytes: usize) {
    let file = OpenOptions::new().create(true).write(true).custom_flags(O_DIRECT).open(path).unwrap();
    let mut memory = Vec::new();
    let block = aligned(&mut memory);
    for _ in 0..times {
        file.write_all_at(&block[..bytes], 0).unwrap();
    }
}

fn read_direct(path: &Path) {
    let mut file = OpenOptions::new().read(true).custom_flags(O_DIRECT).open(path).unwrap();
    let mut memory = Vec::new();
    let block = aligned(&mut memory);
    while file.read(block).unwrap() > 0 {}
}

/// A block in memory as the device wants it for transfers past the page cache.
fn aligned(memory: &mut Vec<u8>) -> &mut [u8] {
    const ALIGNMENT: usize = 4096;
    memory.resize(BLOCK + ALIGNMENT, 0x5a);
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    &mut memory[start..start + BLOCK]
}
