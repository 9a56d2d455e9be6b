//! Processes for the agent to monitor: the load, under names that no other process has.

use std::{
    env,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use m8refsvr_test_support::load::{ARGUMENT, LoadProcess, Programs};

/// A name that no other process has.
pub(crate) struct Name {
    text: String,
    programs: Programs,
}

impl Name {
    pub(crate) fn new(text: &str) -> Self {
        static NAMES: AtomicUsize = AtomicUsize::new(0);
        let text = format!("{text}-{}-{}-", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
        // On the disk that the checkout is on: /tmp may be in memory, where nothing is accounted as written.
        let programs = Programs::new_in(Path::new(env!("CARGO_TARGET_TMPDIR")), &[&text]).unwrap();
        Self { text, programs }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The folder in which processes of this name write.
    pub(crate) fn folder(&self) -> &Path {
        self.programs.folder()
    }

    /// Starts a process of this name, which follows lines.
    pub(crate) fn start(&self) -> LoadProcess {
        LoadProcess::start(&mut self.programs.command(&self.text, ["follow-lines"])).unwrap()
    }

    /// As [`Self::start`], below a parent of another name.
    pub(crate) fn start_accounted(&self) -> Accounted {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg(ARGUMENT).arg("spawn-counted").arg(self.programs.path(&self.text)).arg("follow-lines");
        command.current_dir(self.folder());
        Accounted(LoadProcess::start(&mut command).unwrap())
    }
}

/// A process and its parent, to which the kernel reports in the end what the process had.
pub(crate) struct Accounted(LoadProcess);

impl Accounted {
    /// Has it follow commands; returns when they are done.
    pub(crate) fn run(&mut self, commands: &str) {
        self.0.run(commands);
    }

    /// Ends it. The context switches that it had with all its threads, voluntary and involuntary.
    pub(crate) fn end(self) -> [u64; 2] {
        let printed = self.0.end().unwrap();
        let numbers: Vec<u64> = printed.split_whitespace().map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    }
}
