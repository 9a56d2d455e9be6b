//! Threads that compute, wait, and do both in turns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use rustix::{
    process::setpriority_process,
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// Enough for a thread that waits.
const STACK: usize = 16 << 10;

/// The CPU time that the process has used.
pub(super) fn cpu_time() -> Result<Duration> {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).context("the clock is before its beginning")
}

pub(super) fn burn_cpu(time: Duration) -> Result<()> {
    let end = cpu_time()? + time;
    while cpu_time()? < end {}
    Ok(())
}

pub(super) fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {}
}

/// Starts threads that wait.
pub(super) fn wait(count: u32) -> Result<()> {
    for _ in 0..count {
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn(|| thread::sleep(Duration::MAX)).context("cannot start a thread")?;
    }
    Ok(())
}

pub(super) fn burn_cpu_for_ever(count: u32) {
    for _ in 0..count {
        thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
}

/// The first thread is bound to the CPU too.
pub(super) fn burn_cpu_on(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus)?;
    setpriority_process(None, -20)?;
    burn_cpu_for_ever(1);
    Ok(())
}

pub(super) fn switch(count: u32, times: u32) -> Result<()> {
    join((0..count).map(|_| thread::spawn(move || take_turns(times))).collect()).map(drop)
}

/// Waits and computes in turns: voluntary switches, and with more threads than CPUs involuntary ones.
fn take_turns(times: u32) {
    for time in 0..times {
        thread::sleep(Duration::from_micros(200));
        spin(Duration::from_micros(if time % 10 == 0 { 5000 } else { 100 }));
        thread::yield_now();
    }
}

/// Threads that take turns until they are stopped.
#[derive(Default)]
pub(super) struct Switching {
    is_stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Switching {
    pub(super) fn start(&mut self, count: u32) {
        self.is_stopped.store(false, Ordering::Relaxed);
        for _ in 0..count {
            let is_stopped = Arc::clone(&self.is_stopped);
            self.threads.push(thread::spawn(move || {
                while !is_stopped.load(Ordering::Relaxed) {
                    take_turns(1);
                }
            }));
        }
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.is_stopped.store(true, Ordering::Relaxed);
        join(std::mem::take(&mut self.threads)).map(drop)
    }
}

/// Waits for threads; what they return.
pub(super) fn join<T>(threads: Vec<JoinHandle<T>>) -> Result<Vec<T>> {
    threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))).collect()
}

/// Ends this thread, and not the process.
pub(super) fn end_this_thread() -> ! {
    // SAFETY: ends this thread alone; it holds nothing that others wait for.
    #[expect(unsafe_code, reason = "no library ends a thread without its process")]
    unsafe {
        libc::syscall(libc::SYS_exit, 0);
    }
    unreachable!("the thread has ended")
}
