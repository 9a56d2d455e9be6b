//! What stands in for the kernel's side in an agent that was built without it: nothing that could exist.

use std::{
    convert::Infallible,
    io,
    os::fd::{OwnedFd, RawFd},
    path::Path,
};

use m8refsvr_common::{
    accounting::{Accounting, IoAccounting},
    record::{Counts, DropsRecord},
};

use crate::bpf::{
    Forms, Hook, KernelError, News, NotWatched, Options, Snapshot, Switches, TrackedProcess,
    pins::{PinError, PinnedAgent},
};

/// Can't be made.
#[derive(Debug)]
pub enum Kernel {}

/// Can't be made.
#[derive(Debug)]
pub struct Watch(Infallible);

impl Watch {
    /// Never called.
    pub fn slot(&self) -> u32 {
        match self.0 {}
    }
}

impl Kernel {
    /// Always an error.
    pub fn attach(_options: &Options) -> Result<Self, KernelError> {
        Err(KernelError::NotBuilt)
    }

    /// Never called.
    pub fn forms(&self) -> Forms {
        match *self {}
    }

    /// Never called.
    pub fn hooks(&self) -> Vec<Hook> {
        match *self {}
    }

    /// Never called.
    pub fn can_be_passed_over(&self) -> bool {
        match *self {}
    }

    /// Never called.
    pub fn was_short(&self) -> bool {
        match *self {}
    }

    /// Never called.
    pub fn problems(&self) -> &[String] {
        match *self {}
    }

    /// Never called.
    pub fn pin_problem(&self) -> Option<&PinError> {
        match *self {}
    }

    /// Never called.
    pub fn pinned(&self) -> Option<&Path> {
        match *self {}
    }

    /// Never called.
    pub fn reaches_maps(&self) -> bool {
        match *self {}
    }

    /// Never called.
    pub fn follows_processes(&self) -> bool {
        match *self {}
    }

    /// Never called.
    pub fn kept_accounting(&self) -> Accounting<bool> {
        match *self {}
    }

    /// Never called.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match *self {}
    }

    /// Never called.
    pub fn news(&mut self) -> News {
        match *self {}
    }

    /// Never called.
    pub fn holder(&self, _slot: u32) -> Option<TrackedProcess> {
        match *self {}
    }

    /// Never called.
    pub fn holders(&self) -> Vec<u32> {
        match *self {}
    }

    /// Never called.
    pub fn slot(&self, _tgid: u32) -> Option<u32> {
        match *self {}
    }

    /// Never called.
    pub fn adopt(&mut self, _slot: u32) -> Watch {
        match *self {}
    }

    /// Never called.
    pub fn decided(&self, _tgid: u32) {
        match *self {}
    }

    /// Never called.
    pub fn watch(
        &mut self,
        _tgid: u32,
        _start_ticks: u64,
        _before: impl FnMut() -> Option<(Switches, usize)>,
    ) -> Result<Watch, NotWatched> {
        match *self {}
    }

    /// Never called.
    pub fn lose_process(&self) {
        match *self {}
    }

    /// Never called.
    pub fn totals(&self, _watch: &Watch) -> Counts {
        match *self {}
    }

    /// Never called.
    pub fn own_io(&self, _watch: &Watch) -> Option<IoAccounting> {
        match *self {}
    }

    /// Never called.
    pub fn is_whole(&self, _watch: &Watch) -> bool {
        match *self {}
    }

    /// Never called.
    pub fn release(&mut self, _watch: Watch) {
        match *self {}
    }

    /// Never called.
    pub fn programs(&self) -> Vec<(&'static str, RawFd)> {
        match *self {}
    }

    /// Never called.
    pub fn slots(&self) -> (u64, u64) {
        match *self {}
    }

    /// Never called.
    pub fn losses(&self) -> DropsRecord {
        match *self {}
    }

    /// Never called.
    pub fn snapshot(&self) -> Snapshot {
        match *self {}
    }
}

/// Always an error.
pub fn snapshot_of(_agent: &PinnedAgent) -> Result<Snapshot, KernelError> {
    Err(KernelError::NotBuilt)
}
