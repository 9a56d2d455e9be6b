//! Block I/O, charged to the process that submits it: a request is counted when it is made for a bio, and its
//! bytes grow when further bios are merged into it. Both happen once, on the device that has a request queue,
//! so that what passes through stacked devices (LVM, md) is not counted on each layer.

use aya_ebpf::programs::TracePointContext;
use m8refsvr_common::{
    block_op::{Direction, SECTOR_BYTES},
    record::Counts,
};

use crate::{
    maps::{TrackedProcess, add},
    offsets::{OFFSETS, read},
};

/// What a request is made of, in whichever variant the kernel passes it.
pub(crate) trait Request {
    /// Direction and bytes; `None` when it moves no data.
    fn transfer(&self) -> Option<(Direction, u64)>;
}

/// A bio, by its address.
pub(crate) struct Bio(pub(crate) u64);

impl Request for Bio {
    #[inline(always)]
    fn transfer(&self) -> Option<(Direction, u64)> {
        let direction = Direction::from_opf(read(self.0, &OFFSETS.bio.opf)?)?;
        Some((direction, u64::from(read::<u32>(self.0, &OFFSETS.bio.size)?)))
    }
}

/// The record of a classic tracepoint.
pub(crate) struct Record<'a>(&'a TracePointContext);

impl<'a> Record<'a> {
    #[inline(always)]
    pub(crate) fn of(context: &'a TracePointContext) -> Self {
        Self(context)
    }
}

impl Request for Record<'_> {
    #[inline(always)]
    fn transfer(&self) -> Option<(Direction, u64)> {
        // SAFETY: the helper checks the address.
        let rwbs = unsafe { self.0.read_at::<[u8; 2]>(OFFSETS.block_record.rwbs.load() as usize) }.ok()?;
        let direction = Direction::from_rwbs(rwbs)?;
        // SAFETY: the helper checks the address.
        let sectors =
            unsafe { self.0.read_at::<u32>(OFFSETS.block_record.nr_sector.load() as usize) }.ok()?;
        Some((direction, u64::from(sectors) * SECTOR_BYTES))
    }
}

/// A request was made.
#[inline(always)]
pub(crate) fn requested(request: impl Request) {
    transferred(request, 1);
}

/// Something was added to a request that had been made.
#[inline(always)]
pub(crate) fn merged(request: impl Request) {
    transferred(request, 0);
}

#[inline(always)]
fn transferred(request: impl Request, operations: u64) {
    let Some(counts) = TrackedProcess::current().and_then(TrackedProcess::counts) else { return };
    let Some((direction, bytes)) = request.transfer() else { return };
    // A write without data is a flush of the device's cache.
    if bytes == 0 {
        return;
    }
    let (bytes_field, operations_field) = fields(counts.as_ptr(), direction);
    // These hooks can be preempted, and another thread of the process may then add to the same counter on this CPU.
    add(bytes_field, bytes);
    if operations != 0 {
        add(operations_field, operations);
    }
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(
        (),
        "process {}: {} bytes, write {}, new request {}",
        crate::maps::current_tgid().0,
        bytes,
        u32::from(direction == Direction::Write),
        operations
    );
}

/// Where bytes and operations of a direction are counted.
#[inline(always)]
fn fields(counts: *mut Counts, direction: Direction) -> (*mut u64, *mut u64) {
    // SAFETY: only addresses are taken, of fields of a whole record.
    unsafe {
        match direction {
            Direction::Read => (&raw mut (*counts).read_bytes, &raw mut (*counts).read_operations),
            Direction::Write => (&raw mut (*counts).write_bytes, &raw mut (*counts).write_operations),
        }
    }
}
