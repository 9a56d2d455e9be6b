//! Which command does what.

use std::{
    collections::VecDeque,
    fs,
    io::{Read as _, Write as _},
    process::{self, ExitCode},
    str::FromStr,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::UsageWho;

use super::{descriptors, files, processes, rights, threads, usage::Usage};

/// Follows a script to its end.
pub(super) fn main(script: Vec<String>) -> ExitCode {
    ExitCode::from(Interpreter::new(script.into()).finish())
}

/// What is still to be done, and what was begun.
#[derive(Default)]
struct Interpreter {
    /// What is left of the script.
    words: VecDeque<String>,
    follows_lines: bool,
    /// Whether these words are of a line, which is answered when it is done.
    is_in_line: bool,
    /// What the commands of a line print: in one piece with the answer, as whoever waits for it is to be woken once.
    output: String,
    descriptors: descriptors::Descriptors,
    switching: threads::Switching,
}

impl Interpreter {
    fn new(words: VecDeque<String>) -> Self {
        Self { words, ..Self::default() }
    }

    /// Follows what is left; the exit code.
    #[expect(clippy::print_stderr, reason = "says which command fails")]
    fn finish(mut self) -> u8 {
        while let Some(command) = self.next_command() {
            if let Err(error) = self.follow(&command) {
                eprintln!("{command}: {error:#}");
                return 1;
            }
        }
        0
    }

    fn next_command(&mut self) -> Option<String> {
        loop {
            if let Some(word) = self.words.pop_front() {
                return Some(word);
            }
            if !self.follows_lines {
                return None;
            }
            if std::mem::take(&mut self.is_in_line) {
                self.output.push_str("done\n");
                // Nobody may listen any more.
                std::io::stdout().write_all(std::mem::take(&mut self.output).as_bytes()).ok()?;
            }
            // Without a lock that a thread which ends would keep.
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).ok().filter(|&length| length > 0)?;
            self.words = words(&line);
            self.is_in_line = true;
        }
    }

    fn text(&mut self) -> Result<String> {
        self.words.pop_front().context("it takes one more argument")
    }

    fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(&mut self) -> Result<T> {
        let word = self.text()?;
        word.parse().with_context(|| format!("{word:?} is not a number that it takes"))
    }

    fn milliseconds(&mut self) -> Result<Duration> {
        Ok(Duration::from_millis(self.number()?))
    }

    fn rest(&mut self) -> Vec<String> {
        self.words.drain(..).collect()
    }

    fn print(&mut self, line: &str) -> Result<()> {
        self.output.push_str(line);
        self.output.push('\n');
        if !self.is_in_line {
            std::io::stdout().write_all(std::mem::take(&mut self.output).as_bytes())?;
        }
        Ok(())
    }

    fn follow(&mut self, command: &str) -> Result<()> {
        match command {
            "burn-cpu" => threads::burn_cpu(self.milliseconds()?)?,
            "spin" => threads::spin(self.milliseconds()?),
            "sleep" => thread::sleep(self.milliseconds()?),
            "nap" => (0..self.number::<u32>()?).for_each(|_| thread::sleep(Duration::from_micros(500))),
            "cpu-time" => self.print(&threads::cpu_time()?.as_millis().to_string())?,
            "context-switches" => self.print(&processes::context_switches(UsageWho::RUSAGE_SELF)?)?,
            "threads" => threads::wait(self.number()?)?,
            // As many as can be had.
            "threads-up-to" => drop(threads::wait(self.number()?)),
            "burn-cpu-threads" => threads::burn_cpu_for_ever(self.number()?),
            "burn-cpu-on" => threads::burn_cpu_on(self.number()?)?,
            "switch" => threads::switch(self.number()?, self.number()?)?,
            "start-switching" => {
                let count = self.number()?;
                self.switching.start(count);
            }
            "stop-switching" => self.switching.stop()?,
            "repeat" => {
                let script = self.text()?;
                thread::spawn(move || while Self::new(words(&script)).finish() == 0 {});
            }
            "end-leader" => {
                let rest = std::mem::take(self);
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(20));
                    process::exit(rest.finish().into());
                });
                threads::end_this_thread();
            }
            "fork" => {
                if let Some(child) = processes::fork()? {
                    Usage::default().wait_for(child);
                    process::exit(0);
                }
            }
            "detach" => {
                if processes::fork()?.is_some() {
                    process::exit(0);
                }
            }
            "fork-write" => {
                let child = self.fork_write()?;
                Usage::default().wait_for(child);
            }
            "fork-write-unwaited" => {
                let bytes = self.number()?;
                let (mut written, child) = processes::fork_reporting(|| {
                    files::write(bytes, files::Sync::No)?;
                    files::written_by_this_process()
                })?;
                let mut line = String::new();
                written.read_to_string(&mut line)?;
                processes::wait_until_gone(child);
                self.print(&line)?;
            }
            "ignore-sigchld" => processes::ignore_sigchld()?,
            "setsid" => drop(rustix::process::setsid()?),
            "exec" => return Err(processes::exec(&self.text()?, self.rest())),
            "exec-from-thread" => return Err(processes::exec_from_thread(self.text()?, self.rest())),
            "exec-other" => return Err(processes::exec_other(&self.text()?, self.rest())),
            "spawn" => processes::spawn(&self.text()?, self.rest())?,
            "spawn-counted" => {
                processes::spawn(&self.text()?, self.rest())?;
                self.print(&processes::context_switches(UsageWho::RUSAGE_CHILDREN)?)?;
            }
            "exit" => process::exit(self.number()?),
            "raise" => processes::raise(self.number()?),
            "rename" => fs::write("/proc/self/comm", self.text()?)?,
            "rename-often" => {
                let mut names = (0..self.number::<u32>()?).map(|time| format!("other-{time}"));
                names.try_for_each(|name| fs::write("/proc/self/comm", name))?;
            }
            "write" => files::write(self.number()?, files::Sync::No)?,
            "write-synced" => files::write(self.number()?, files::Sync::Yes)?,
            "write-direct" => files::write_direct(self.number()?, self.number()?)?,
            "rewrite-direct" => files::rewrite_direct(self.number()?, self.number()?, self.number()?)?,
            "overwrite-direct" => files::overwrite_direct(&self.text()?, self.number()?)?,
            "read-direct" => files::read_direct(&self.text()?)?,
            "open-files" => {
                let count = self.number()?;
                self.descriptors.open_files(count)?;
            }
            "open-pipes-and-sockets" => {
                let count = self.number()?;
                self.descriptors.open_pipes_and_sockets(count)?;
            }
            "close-files" => self.descriptors.close(),
            "allocate" => {
                let memory = vec![1_u8; self.number::<usize>()? << 20];
                drop(std::hint::black_box(memory));
            }
            "chdir" => std::env::set_current_dir(self.text()?)?,
            "join-cgroup" => rights::join_cgroup(&self.text()?)?,
            "setuid" => rights::set_user(self.number()?)?,
            "setuid-keeping" => rights::set_user_keeping(self.number()?, &self.text()?)?,
            "limit-processes" => rights::limit_processes(self.number()?)?,
            "unlimited-core" => rights::unlimited_core()?,
            "exit-after" => {
                let time = self.milliseconds()?;
                thread::spawn(move || {
                    thread::sleep(time);
                    process::exit(0);
                });
            }
            "ready" => self.print("")?,
            "wait-input" => drop(std::io::stdin().read(&mut [0])?),
            "follow-lines" => {
                self.follows_lines = true;
                self.words.clear();
            }
            _ => bail!("there is no such command"),
        }
        Ok(())
    }

    /// Has a child write; its id.
    fn fork_write(&mut self) -> Result<u32> {
        let bytes = self.number()?;
        if let Some(child) = processes::fork()? {
            return Ok(child);
        }
        process::exit(files::write(bytes, files::Sync::No).is_err().into());
    }
}

fn words(script: &str) -> VecDeque<String> {
    script.split_whitespace().map(str::to_owned).collect()
}
