//! The signals that stop the agent, or have it open its log again. A thread of their own waits for them, so that
//! whatever hangs they are seen.

use std::{process::ExitCode, thread};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator,
};
use tokio::sync::mpsc;

use crate::sys::capabilities;

/// The exit code that a shell reports of a process that a signal killed: 128 and its number.
const BY_SIGNAL: i32 = 128;
const LISTENING: &str = "cannot listen for signals";

/// Listening begins before anything is set up that must be cleaned up.
pub(super) struct Signals(iterator::Signals);

impl Signals {
    pub(super) fn listen() -> Result<Self> {
        let listening = iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]);
        listening.map(Self).context(LISTENING)
    }

    /// Has a thread do something at each of them.
    pub(super) fn follow(mut self, mut what: impl FnMut(i32) + Send + 'static) -> Result<()> {
        let thread = thread::Builder::new().name("signals".into());
        let started = thread.spawn(move || {
            capabilities::for_files();
            self.0.forever().for_each(&mut what);
        });
        started.map(|_| ()).context(LISTENING)
    }

    /// Hands them on to one who waits for more than signals.
    pub(super) fn handed_on(self) -> Result<Handed> {
        let (sender, receiver) = mpsc::unbounded_channel();
        // The other end is gone when the agent is about to exit.
        self.follow(move |signal| _ = sender.send(signal))?;
        Ok(Handed(receiver))
    }
}

/// Signals that come while something else is waited for.
pub(super) struct Handed(mpsc::UnboundedReceiver<i32>);

impl Handed {
    /// The exit code by the next one. One that came while nobody waited comes first.
    pub(super) async fn next(&mut self) -> ExitCode {
        match self.0.recv().await {
            Some(signal) => ExitCode::from(by_signal(signal)),
            None => std::future::pending().await,
        }
    }
}

/// The exit code of a process that a signal killed.
pub(super) fn by_signal(signal: i32) -> u8 {
    u8::try_from(BY_SIGNAL + signal).unwrap_or(u8::MAX)
}
