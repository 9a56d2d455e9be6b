//! How a test starts the load: this program under names of the test's choice.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid},
};
use tempfile::TempDir;

use super::ARGUMENT;

/// Seconds for a process to end after its input has ended. Then it is killed.
const PATIENCE: i64 = 60;

/// This program under other names, in a folder of its own.
#[derive(Debug)]
pub struct Programs(TempDir);

impl Programs {
    /// Makes the folder in another, and this program in it under each of the names.
    pub fn new_in<N: AsRef<OsStr>>(parent: &Path, names: &[N]) -> io::Result<Self> {
        let folder = TempDir::with_prefix_in("load-", parent)?;
        let this = env::current_exe()?;
        for name in names {
            let program = folder.path().join(name.as_ref());
            // A copy only where it has to be, on another disk: it could not be executed while a process that another
            // thread just starts has it open for writing.
            if fs::hard_link(&this, &program).is_err() {
                fs::copy(&this, &program)?;
            }
        }
        Ok(Self(folder))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Where the program of this name is.
    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.path().join(name.as_ref())
    }

    /// A command that follows a script in the folder, with a pipe as its input.
    pub fn command<W: AsRef<OsStr>>(
        &self,
        name: impl AsRef<OsStr>,
        script: impl IntoIterator<Item = W>,
    ) -> Command {
        let mut command = Command::new(self.path(name));
        command.arg(ARGUMENT).args(script).current_dir(self.folder()).stdin(Stdio::piped());
        command
    }
}

/// A process that follows lines. It ends when dropped, as its input ends.
#[derive(Debug)]
pub struct LoadProcess {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl LoadProcess {
    /// Starts it by a command that ends with `follow-lines`.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let mut process = Self { child, commands, answers };
        // Once it answers, it has its name.
        process.run("");
        Ok(process)
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it follow a line; returns what that prints, when it is done.
    pub fn run(&mut self, line: &str) -> String {
        self.send(line);
        let mut printed = String::new();
        loop {
            let before = printed.len();
            let length = self.answers.read_line(&mut printed).unwrap_or(0);
            assert!(length > 0, "{line:?} was not done: {printed:?}");
            if &printed[before..] == "done\n" {
                printed.truncate(before);
                return printed;
            }
        }
    }

    /// Has it follow a line that it does not survive.
    pub fn end_by(mut self, line: &str) -> io::Result<ExitStatus> {
        self.send(line);
        self.child.wait()
    }

    /// Ends its input; returns what it still prints, when it has ended.
    pub fn end(mut self) -> io::Result<String> {
        drop(self.commands.take());
        io::read_to_string(&mut self.answers)
    }

    fn send(&mut self, line: &str) {
        let sent = self.commands.as_mut().map(|commands| writeln!(commands, "{line}"));
        assert!(matches!(sent, Some(Ok(()))), "{line:?} can't be sent: {sent:?}");
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
    }

    /// Ends it by a signal.
    pub fn kill(mut self, signal: Signal) -> io::Result<ExitStatus> {
        self.signal(signal)?;
        self.child.wait()
    }

    fn exits_within(&self, seconds: i64) -> bool {
        let Ok(process) = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()) else { return false };
        let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
        matches!(poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)), Ok(1))
    }

    /// Stops it; returns once all its threads have stopped.
    pub fn stop(&self) -> rustix::io::Result<()> {
        self.signal(Signal::STOP)?;
        self.wait_for(WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT)
    }

    /// Waits until it changes its state.
    pub fn wait_for(&self, change: WaitIdOptions) -> rustix::io::Result<()> {
        waitid(WaitId::Pid(Pid::from_child(&self.child)), change).map(drop)
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        drop(self.commands.take());
        // The id of a process that was reaped may be another's by now.
        let Ok(None) = self.child.try_wait() else { return };
        // A process that was stopped does not see the end of its input.
        let _ = self.signal(Signal::CONT);
        if !self.exits_within(PATIENCE) {
            let _ = self.signal(Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
