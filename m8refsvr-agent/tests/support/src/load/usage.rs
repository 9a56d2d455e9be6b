//! What processes had that have ended, as the kernel reports it to whoever waits for them.

use std::{
    io::{self, Read as _},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

static STARTING: Mutex<()> = Mutex::new(());

/// Held from fork to exec, and by a collection: what a process did as another program before a collection is not
/// counted, but `wait4` reports it.
pub fn no_process_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sums of ended processes, by `wait4`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// How many have ended.
    pub processes: u64,
    /// In user mode and in the kernel.
    pub cpu: Duration,
    /// Context switches.
    pub switches: u64,
    /// By the kernel's accounting of storage I/O.
    pub written_bytes: u64,
}

impl Usage {
    /// Waits for a child, and adds what it had.
    #[expect(clippy::needless_pass_by_value, reason = "nothing can be done with it afterwards")]
    pub fn wait(&mut self, child: Child) {
        self.wait_for(child.id());
    }

    /// As [`Self::wait`], by its id.
    #[expect(unsafe_code, reason = "no library waits for a child and returns what it had")]
    pub fn wait_for(&mut self, pid: u32) {
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

    /// Runs commands one after the other. They get no input.
    pub fn run(&mut self, times: u32, mut command: impl FnMut() -> Command) -> io::Result<()> {
        for _ in 0..times {
            let child = {
                let _started = no_process_starts();
                let mut child = command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
                // `spawn` returns a little before the program has been executed: but one that prints something has
                // been, and one that prints nothing has ended.
                if let Some(mut output) = child.stdout.take() {
                    let _ = output.read(&mut [0])?;
                }
                child
            };
            self.wait(child);
        }
        Ok(())
    }
}
