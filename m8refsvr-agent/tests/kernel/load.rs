//! How these tests start the load: this program again, under other names.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use m8refsvr_agent::bpf::Switches;
use m8refsvr_test_support::load::{self, LoadProcess};
use rustix::{process::Signal, process::WaitIdOptions};

/// A process that follows lines. It ends when dropped.
pub(crate) struct Load {
    process: LoadProcess,
    /// It is removed in the end.
    _programs: load::Programs,
}

impl Load {
    /// Starts one with this name.
    pub(crate) fn start(name: impl AsRef<OsStr>) -> Self {
        Self::start_with(name, &[])
    }

    /// Starts one with further arguments, which have no meaning for it.
    pub(crate) fn start_with(name: impl AsRef<OsStr>, arguments: &[&str]) -> Self {
        let programs = load::Programs::new_in(Path::new(env!("CARGO_TARGET_TMPDIR")), &[&name]).unwrap();
        let script = [&["follow-lines"], arguments].concat();
        let process = LoadProcess::start(&mut programs.command(&name, script)).unwrap();
        Self { process, _programs: programs }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Has it follow commands; returns when they are done.
    pub(crate) fn run(&mut self, commands: &str) {
        self.process.run(commands);
    }

    /// Its context switches by `getrusage`, at a moment at which it runs.
    pub(crate) fn switches(&mut self) -> Switches {
        let answer = self.process.run("context-switches");
        let mut numbers = answer.split_whitespace().map(|number| number.parse().unwrap());
        Switches { voluntary: numbers.next().unwrap(), involuntary: numbers.next().unwrap() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal).unwrap();
    }

    /// Stops it; returns once all its threads have stopped.
    pub(crate) fn stop(&self) {
        self.process.stop().unwrap();
    }

    /// Waits until it changes its state.
    pub(crate) fn wait_for(&self, change: WaitIdOptions) {
        self.process.wait_for(change).unwrap();
    }
}

/// A folder on the disk that the checkout is on: /tmp may be in memory, where no block I/O happens.
pub(crate) fn work_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("work-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A name in which `@` stands for one that no process has but those of this run of the tests.
pub(crate) fn own(name: &str) -> String {
    name.replace('@', &format!("M8L{}", std::process::id()))
}

/// This program under some names, each as [`own`] has it. Processes that are started from it follow a script and end.
pub(crate) struct Programs(load::Programs);

impl Programs {
    pub(crate) fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| own(name)).collect();
        Self(load::Programs::new_in(Path::new(env!("CARGO_TARGET_TMPDIR")), &names).unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path(own(name))
    }

    /// A command that follows a script, in which `./` stands for the folder of the programs.
    pub(crate) fn command(&self, name: &str, script: &str) -> Command {
        let folder = format!("{}/", self.0.folder().display());
        self.0.command(own(name), script.split(' ').map(|word| own(&word.replace("./", &folder))))
    }
}

/// Waits until a process has a name.
pub(crate) fn wait_for_name(pid: u32, name: &str) {
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
