//! The load: two threads on one CPU that wake each other without end, so that each pass is one context switch.

use std::{
    io::{Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

const CPU: usize = 0;

/// The running threads.
pub(crate) struct PingPong {
    stop: Arc<AtomicBool>,
    passes: Arc<AtomicU64>,
    players: Vec<thread::JoinHandle<()>>,
}

impl PingPong {
    pub(crate) fn start() -> Self {
        let (stop, passes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (first_reader, first_writer) = std::io::pipe().unwrap();
        let (second_reader, second_writer) = std::io::pipe().unwrap();
        let player = |mut reader: std::io::PipeReader, mut writer: std::io::PipeWriter, serves: bool| {
            let (stop, passes) = (Arc::clone(&stop), Arc::clone(&passes));
            thread::spawn(move || {
                let mut cpus = CpuSet::new();
                cpus.set(CPU);
                sched_setaffinity(None, &cpus).unwrap();
                let mut byte = [0];
                if serves {
                    writer.write_all(&byte).unwrap();
                }
                // Ends when the other has ended and closed its pipe.
                while !stop.load(Ordering::Relaxed)
                    && reader.read(&mut byte).is_ok_and(|length| length == 1)
                    && writer.write_all(&byte).is_ok()
                {
                    passes.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let players =
            vec![player(first_reader, second_writer, true), player(second_reader, first_writer, false)];
        Self { stop, passes, players }
    }

    /// Nanoseconds of CPU time for each pass in so much time; what else runs on the CPU is not in it.
    pub(crate) fn pass(&self, time: Duration) -> f64 {
        let now = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
        let passes = || self.passes.load(Ordering::Relaxed);
        let (cpu_before, before) = (now(), passes());
        thread::sleep(time);
        super::nanoseconds(now() - cpu_before) / super::per(passes() - before)
    }

    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.players.into_iter().for_each(|player| player.join().unwrap());
    }
}
