//! Whether the kernel measures BPF programs: `kernel.bpf_stats_enabled`. No namespace has one of its own.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

const SYSCTL: &str = "/proc/sys/kernel/bpf_stats_enabled";

static USER: Mutex<()> = Mutex::new(());

/// The sysctl with a value that a test needs. No other test can change it, and it has its earlier value when dropped.
pub(crate) struct BpfStats {
    before: Vec<u8>,
    _only: MutexGuard<'static, ()>,
}

impl BpfStats {
    pub(crate) fn set(enabled: bool) -> Self {
        let only = USER.lock().unwrap_or_else(PoisonError::into_inner);
        let before = fs::read(SYSCTL).unwrap();
        fs::write(SYSCTL, if enabled { "1" } else { "0" }).unwrap();
        Self { before, _only: only }
    }
}

impl Drop for BpfStats {
    fn drop(&mut self) {
        let _ = fs::write(SYSCTL, &self.before);
    }
}
