//! Replaces the attached BPF programs in an agent that was built without them: types of which there is no value.

#![expect(missing_docs, reason = "the methods are those of the attached BPF programs, and never called")]

use std::{
    convert::Infallible,
    io,
    os::fd::{OwnedFd, RawFd},
    path::Path,
};

use m8refsvr_common::{
    accounting::{Accounting, IoAccounting},
    record::{Counts, DropsRecord},
    signal::{PerSource, Variant},
    slot::{Slot, Tgid},
};

use crate::bpf::{
    error::{KernelError, NoSlot},
    event::Events,
    hook::Hook,
    options::Options,
    pins::{PinError, PinnedAgent},
    process::{SlotProcess, Switches},
    snapshot::Snapshot,
};

/// Can't be made, so that its methods are never called.
#[derive(Debug)]
pub enum Kernel {}

/// Can't be made, as there are no slots.
#[derive(Debug)]
pub struct SlotHandle(Infallible);

impl SlotHandle {
    pub fn slot(&self) -> Slot {
        match self.0 {}
    }
}

impl Kernel {
    /// Always an error.
    pub fn attach(_options: &Options) -> Result<Self, KernelError> {
        Err(KernelError::NotBuilt)
    }

    pub fn variants(&self) -> PerSource<Variant> {
        match *self {}
    }

    pub fn hooks(&self) -> Vec<Hook> {
        match *self {}
    }

    pub fn can_be_skipped(&self) -> bool {
        match *self {}
    }

    pub fn take_unmapped(&self) -> bool {
        match *self {}
    }

    pub fn problems(&self) -> &[String] {
        match *self {}
    }

    pub fn pin_problem(&self) -> Option<&PinError> {
        match *self {}
    }

    pub fn pinned(&self) -> Option<&Path> {
        match *self {}
    }

    pub fn reaches_maps(&self) -> bool {
        match *self {}
    }

    pub fn follows_processes(&self) -> bool {
        match *self {}
    }

    pub fn kept_accounting(&self) -> Accounting<bool> {
        match *self {}
    }

    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match *self {}
    }

    pub fn events(&mut self) -> Events {
        match *self {}
    }

    pub fn tracked_process(&self, _slot: Slot) -> Option<SlotProcess> {
        match *self {}
    }

    pub fn tracked_slots(&self) -> Vec<Slot> {
        match *self {}
    }

    pub fn slot(&self, _tgid: Tgid) -> Option<Slot> {
        match *self {}
    }

    pub fn take_over(&mut self, _slot: Slot) -> SlotHandle {
        match *self {}
    }

    pub fn decided(&self, _tgid: Tgid) {
        match *self {}
    }

    pub fn track(
        &mut self,
        _tgid: Tgid,
        _start_ticks: u64,
        _before: impl FnMut() -> Option<(Switches, usize)>,
    ) -> Result<SlotHandle, NoSlot> {
        match *self {}
    }

    pub fn count_no_free_slot(&self) {
        match *self {}
    }

    pub fn totals(&self, _handle: &SlotHandle) -> Counts {
        match *self {}
    }

    pub fn own_io(&self, _handle: &SlotHandle) -> Option<IoAccounting> {
        match *self {}
    }

    pub fn is_whole(&self, _handle: &SlotHandle) -> bool {
        match *self {}
    }

    pub fn release(&mut self, _handle: SlotHandle) {
        match *self {}
    }

    pub fn programs(&self) -> Vec<(&'static str, RawFd)> {
        match *self {}
    }

    pub fn slots(&self) -> (u64, u64) {
        match *self {}
    }

    pub fn drops(&self) -> DropsRecord {
        match *self {}
    }

    pub fn snapshot(&self) -> Snapshot {
        match *self {}
    }
}

/// Always an error.
pub fn snapshot_of(_agent: &PinnedAgent) -> Result<Snapshot, KernelError> {
    Err(KernelError::NotBuilt)
}
