//! Children, programs that are executed, and ends.

use std::{
    io::{PipeReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};
use nix::sys::resource::{UsageWho, getrusage};

use super::ARGUMENT;

/// Voluntary and involuntary ones, as the kernel has them for who waits for the process.
pub(super) fn context_switches(of: UsageWho) -> Result<String> {
    let usage = getrusage(of)?;
    Ok(format!("{} {}", usage.voluntary_context_switches(), usage.involuntary_context_switches()))
}

/// The child's id in the parent, none in the child.
#[expect(unsafe_code, reason = "no library forks without executing")]
pub(super) fn fork() -> Result<Option<u32>> {
    // SAFETY: scripts fork before they start threads.
    let pid = unsafe { libc::fork() };
    ensure!(pid >= 0, "{}", std::io::Error::last_os_error());
    Ok((pid > 0).then(|| pid.cast_unsigned()))
}

/// A child does something, writes what that returns into a pipe, and exits. Returns the other end of the pipe.
pub(super) fn fork_reporting(does: impl FnOnce() -> Result<u64>) -> Result<(PipeReader, u32)> {
    let (reader, mut writer) = std::io::pipe()?;
    match fork()? {
        Some(child) => Ok((reader, child)),
        None => {
            let outcome = does().and_then(|number| Ok(write!(writer, "{number}")?));
            std::process::exit(outcome.is_err().into());
        }
    }
}

/// Waits until a child is gone for which nobody waits.
pub(super) fn wait_until_gone(child: u32) {
    while Path::new(&format!("/proc/{child}")).exists() {
        thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn ignore_sigchld() -> Result<()> {
    // SAFETY: sets what becomes of a signal for which this process has no handler.
    #[expect(unsafe_code, reason = "the library has no way to ignore a signal")]
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    ensure!(before != libc::SIG_ERR, "{}", std::io::Error::last_os_error());
    Ok(())
}

fn load(program: &str, script: Vec<String>) -> Command {
    let mut command = Command::new(program);
    command.arg(ARGUMENT).args(script);
    command
}

/// Returns only where it fails.
pub(super) fn exec(program: &str, script: Vec<String>) -> anyhow::Error {
    load(program, script).exec().into()
}

/// The thread that executes a program takes the place of the first.
pub(super) fn exec_from_thread(program: String, script: Vec<String>) -> anyhow::Error {
    let thread = thread::spawn(move || exec(&program, script));
    thread.join().unwrap_or_else(|_| anyhow!("the thread panicked"))
}

pub(super) fn exec_other(program: &str, arguments: Vec<String>) -> anyhow::Error {
    Command::new(program).args(arguments).exec().into()
}

pub(super) fn spawn(program: &str, script: Vec<String>) -> Result<()> {
    let status = load(program, script).status()?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

/// The signal acts as it does where a program has no handler.
pub(super) fn raise(signal: i32) {
    // SAFETY: sends a signal to this process.
    #[expect(unsafe_code, reason = "the library's own handlers would come first")]
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
