//! The object with log statements, which developers build.

use std::sync::{
    LazyLock,
    mpsc::{Receiver, Sender, channel},
};
use std::{sync::Mutex, time::Duration};

use m8refsvr_agent::bpf::Options;

use crate::{
    Case,
    Need::{Bpf, Disk, LogObject},
    collecting::collector_with,
    load::Load,
};

pub(crate) const CASES: &[Case] = &[FORWARDED];

/// The object, built by `cargo xtask test`.
pub(crate) fn object() -> Result<Vec<u8>, String> {
    let path = std::env::var("M8REFSVR_LOG_OBJECT")
        .map_err(|_| "M8REFSVR_LOG_OBJECT does not say where the object with log statements is")?;
    std::fs::read(&path).map_err(|error| format!("cannot read {path}: {error}"))
}

/// Keeps what is logged.
struct Kept {
    sender: Mutex<Sender<String>>,
    receiver: Mutex<Receiver<String>>,
}

static LOG: LazyLock<Kept> = LazyLock::new(|| {
    let (sender, receiver) = channel();
    Kept { sender: Mutex::new(sender), receiver: Mutex::new(receiver) }
});

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.sender.lock().unwrap().send(record.args().to_string()).unwrap();
    }

    fn flush(&self) {}
}

const FORWARDED: Case =
    Case::new("what the BPF programs log reaches the log of the agent", &[Bpf, Disk, LogObject], forwarded);

fn forwarded() {
    log::set_logger(&*LOG).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let options =
        Options { capacity: 16, bpf_fs: None, object: Some(object().unwrap()), ..Options::default() };
    let mut collector = collector_with("M8RefSvr_log", &options);
    let mut load = Load::start("M8RefSvr_log");
    collector.collect().unwrap();
    load.run("write-direct 1 1");
    let start = format!("process {}: ", load.pid());
    let receiver = LOG.receiver.lock().unwrap();
    loop {
        let line = receiver.recv_timeout(Duration::from_secs(30)).expect("the programs log a write");
        // The file system may have read something of its own for it before.
        if line.starts_with(&start) && line.contains("write 1") {
            break;
        }
    }
    log::set_max_level(log::LevelFilter::Off);
}
