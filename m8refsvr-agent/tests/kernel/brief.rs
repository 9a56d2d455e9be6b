//! Processes that live for a short time: this test program again, under another name, which follows the words of its
//! command line one after the other and ends.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use rustix::{
    process::{Resource, Rlimit, setrlimit, setsid},
    time::{ClockId, clock_gettime},
};

use crate::actor::work_folder;

/// The first argument by which this program knows that it is such a process.
pub(crate) const ARGUMENT: &str = "--brief";

/// A name in which `@` stands for one that no process has but those of this run of the tests.
pub(crate) fn own(name: &str) -> String {
    name.replace('@', &format!("M8L{}", std::process::id()))
}

/// A folder with this program under some names.
pub(crate) struct Programs(tempfile::TempDir);

impl Programs {
    pub(crate) fn new(names: &[&str]) -> Self {
        let folder = work_folder();
        let first = folder.path().join("program");
        fs::copy(env::current_exe().unwrap(), &first).unwrap();
        for name in names {
            fs::hard_link(&first, folder.path().join(own(name))).unwrap();
        }
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(own(name))
    }

    /// A command that follows these words, in which `./` stands for the folder of the programs.
    pub(crate) fn command(&self, name: &str, words: &str) -> Command {
        let mut command = Command::new(self.path(name));
        let folder = format!("{}/", self.0.path().display());
        command.arg(ARGUMENT).args(words.split(' ').map(|word| own(&word.replace("./", &folder))));
        command.current_dir(self.0.path()).stdin(Stdio::piped());
        command
    }
}

/// Held from fork to exec, and during a collection: what a process did as another program before a collection is not told, but
/// `wait4` tells it.
pub(crate) static STARTING: Mutex<()> = Mutex::new(());

/// What a process had that has ended, by `wait4`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) processes: u64,
    pub(crate) cpu: Duration,
    pub(crate) switches: u64,
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// Waits for a child, and adds what it had.
    pub(crate) fn wait(&mut self, child: Child) {
        self.wait_for(child.id());
    }

    #[expect(unsafe_code, reason = "no library waits for a child and tells what it had")]
    fn wait_for(&mut self, pid: u32) {
        let mut status = 0;
        // SAFETY: all zeros is a valid rusage, and both pointers are to whole values.
        let (waited, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid.cast_signed(), &raw mut status, 0, &raw mut usage), usage)
        };
        assert_eq!(waited, pid.cast_signed());
        let time = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec.cast_unsigned())
                + Duration::from_micros(time.tv_usec.cast_unsigned())
        };
        self.processes += 1;
        self.cpu += time(usage.ru_utime) + time(usage.ru_stime);
        self.switches += (usage.ru_nvcsw + usage.ru_nivcsw).cast_unsigned();
        self.written_bytes += usage.ru_oublock.cast_unsigned() * 512;
    }

    /// Runs commands one after the other.
    pub(crate) fn run(&mut self, times: u32, mut command: impl FnMut() -> Command) {
        for _ in 0..times {
            // The program itself waits for no end of its input here.
            let child = {
                let _started = STARTING.lock().unwrap();
                let mut child = command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
                // Who starts a program is told so a little before it has been executed: but one that says something has
                // been, and one that says nothing has ended.
                let _ = child.stdout.take().unwrap().read(&mut [0]).unwrap();
                child
            };
            self.wait(child);
        }
    }
}

/// Follows the words.
pub(crate) fn act() {
    let words: Vec<String> = env::args().skip(2).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    follow(&words);
}

fn follow(mut words: &[&str]) {
    while let [verb, rest @ ..] = words {
        words = match (*verb, rest) {
            ("burn", [milliseconds, rest @ ..]) => {
                let until = Duration::from_millis(milliseconds.parse().unwrap());
                let used = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
                while used() < until {}
                rest
            }
            // How much CPU time it has used, in milliseconds.
            ("used", rest) => {
                let used = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
                std::io::stdout().write_all(format!("{}\n", used.as_millis()).as_bytes()).unwrap();
                rest
            }
            ("sleep", [milliseconds, rest @ ..]) => {
                thread::sleep(Duration::from_millis(milliseconds.parse().unwrap()));
                rest
            }
            // Threads that compute, until the process ends under them.
            ("threads", [count, rest @ ..]) => {
                for _ in 0..count.parse::<u32>().unwrap() {
                    thread::spawn(|| {
                        loop {
                            std::hint::spin_loop()
                        }
                    });
                }
                rest
            }
            // As many threads as can be had up to this number, which wait until the process ends.
            ("crowd", [count, rest @ ..]) => {
                let one =
                    || thread::Builder::new().stack_size(16 << 10).spawn(|| thread::sleep(Duration::MAX));
                let _ = (0..count.parse::<u32>().unwrap()).try_for_each(|_| one().map(|_| ()));
                rest
            }
            ("naps", [count, rest @ ..]) => {
                (0..count.parse::<u32>().unwrap()).for_each(|_| thread::sleep(Duration::from_micros(500)));
                rest
            }
            // Until those who started it write a byte, or close its input.
            ("hold", rest) => {
                let _ = std::io::stdin().read(&mut [0]);
                rest
            }
            ("write", [bytes, rest @ ..]) => {
                let path = format!("written-{}", std::process::id());
                fs::write(&path, vec![1; bytes.parse().unwrap()]).unwrap();
                fs::remove_file(path).unwrap();
                rest
            }
            ("rename", [name, rest @ ..]) => {
                fs::write("/proc/self/comm", name).unwrap();
                rest
            }
            ("rename-often", [times, rest @ ..]) => {
                for time in 0..times.parse::<u32>().unwrap() {
                    fs::write("/proc/self/comm", format!("other-{time}")).unwrap();
                }
                rest
            }
            ("exec", [program, rest @ ..]) => {
                panic!("{}", Command::new(program).arg(ARGUMENT).args(rest).exec())
            }
            // Another thread executes the program, and takes the place of the first.
            ("exec-from-thread", [program, rest @ ..]) => {
                let mut command = Command::new(program);
                command.arg(ARGUMENT).args(rest);
                thread::spawn(move || panic!("{}", command.exec())).join().unwrap();
                return;
            }
            // The first thread ends, and another goes on.
            ("end-leader", rest) => {
                let rest: Vec<String> = rest.iter().map(|&word| word.to_owned()).collect();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(20));
                    follow(&rest.iter().map(String::as_str).collect::<Vec<_>>());
                    std::process::exit(0);
                });
                // SAFETY: ends this thread alone; it holds nothing that others wait for.
                #[expect(unsafe_code, reason = "no library ends a thread without its process")]
                unsafe {
                    libc::syscall(libc::SYS_exit, 0);
                }
                return;
            }
            // A child executes the program, and its parent waits for it.
            ("spawn", [program, rest @ ..]) => {
                Command::new(program).arg(ARGUMENT).args(rest).status().unwrap();
                return;
            }
            // A child goes on, and its parent waits for it.
            ("fork", rest) => match fork() {
                0 => rest,
                child => {
                    let mut usage = Usage::default();
                    usage.wait_for(child);
                    return;
                }
            },
            // A child writes, and its parent goes on when it has ended.
            ("child", [bytes, rest @ ..]) => match fork() {
                0 => {
                    follow(&["write", bytes]);
                    std::process::exit(0);
                }
                child => {
                    Usage::default().wait_for(child);
                    rest
                }
            },
            // The kernel waits for its children from now on.
            ("ignore-ends", rest) => {
                // SAFETY: sets what becomes of a signal for which this process has no handler.
                #[expect(unsafe_code, reason = "the library has no way to ignore a signal")]
                let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
                assert_ne!(before, libc::SIG_ERR);
                rest
            }
            // A child writes, and its parent goes on when it is gone without having been waited for.
            ("unwaited", [bytes, rest @ ..]) => match fork() {
                0 => {
                    follow(&["write", bytes]);
                    std::process::exit(0);
                }
                child => {
                    while Path::new(&format!("/proc/{child}")).exists() {
                        thread::sleep(Duration::from_millis(1));
                    }
                    rest
                }
            },
            // A child goes on, and its parent ends.
            ("detach", rest) => match fork() {
                0 => rest,
                _ => return,
            },
            ("setsid", rest) => {
                setsid().unwrap();
                rest
            }
            ("exit", [code, ..]) => std::process::exit(code.parse().unwrap()),
            ("cores", rest) => {
                setrlimit(Resource::Core, Rlimit { current: None, maximum: None }).unwrap();
                rest
            }
            ("signal", [number, ..]) => {
                // SAFETY: sends a signal to this process.
                #[expect(unsafe_code, reason = "the library's own handlers would come first")]
                unsafe {
                    let number = number.parse().unwrap();
                    libc::signal(number, libc::SIG_DFL);
                    libc::raise(number);
                }
                return;
            }
            ("become", [user, rest @ ..]) => {
                // SAFETY: there is one thread only.
                #[expect(unsafe_code, reason = "no library gives the whole process to another user")]
                let outcome = unsafe { libc::setuid(user.parse().unwrap()) };
                assert_eq!(outcome, 0);
                rest
            }
            // That it has come so far.
            ("say", rest) => {
                std::io::stdout().write_all(b"x").and_then(|()| std::io::stdout().flush()).unwrap();
                rest
            }
            // Into a control group.
            ("join", [folder, rest @ ..]) => {
                fs::write(Path::new(folder).join("cgroup.procs"), std::process::id().to_string()).unwrap();
                rest
            }
            // At most so many threads of its user.
            ("limit", [threads, rest @ ..]) => {
                let limit = Some(threads.parse().unwrap());
                setrlimit(Resource::Nproc, Rlimit { current: limit, maximum: limit }).unwrap();
                rest
            }
            ("eat", [mebibytes, rest @ ..]) => {
                let memory = vec![1_u8; mebibytes.parse::<usize>().unwrap() << 20];
                assert_eq!(std::hint::black_box(memory)[0], 1);
                rest
            }
            other => panic!("{other:?} is no word"),
        }
    }
}

#[expect(unsafe_code, reason = "no library forks without executing")]
fn fork() -> u32 {
    // SAFETY: there is one thread only.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    pid.cast_unsigned()
}
