//! BPF arrays mapped into this process: what the kernel counts is read, and what it should watch is written,
//! without a system call. All unsafe code of the agent is here.

use std::{
    io,
    marker::PhantomData,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use m8refsvr_common::record::{Counters, Counts, Life, Losses, Settings, Target};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A record of whole, aligned 64-bit words in which every bit pattern is valid.
///
/// # Safety
/// The type is `#[repr(C)]` or a primitive, at least 8-aligned, without padding, and made of `u64` alone.
pub(crate) unsafe trait Record: Copy + Default {}

// SAFETY: checked at compile time in `m8refsvr_common::record`.
unsafe impl Record for Counters {}
// SAFETY: as above.
unsafe impl Record for Target {}
// SAFETY: as above.
unsafe impl Record for Life {}
// SAFETY: as above.
unsafe impl Record for Losses {}
// SAFETY: as above.
unsafe impl Record for Settings {}
// SAFETY: one word.
unsafe impl Record for u64 {}

/// An array of records that the kernel and other processes may read and write at the same time. Each word is
/// read and written as a whole; a record as a whole may be half old, half new.
#[derive(Debug)]
pub(crate) struct SharedArray<T> {
    start: NonNull<u8>,
    bytes: usize,
    length: u32,
    records: PhantomData<T>,
}

// SAFETY: all access is by atomic operations on memory that is shared with the kernel anyway.
unsafe impl<T: Record> Send for SharedArray<T> {}

impl<T: Record> SharedArray<T> {
    /// Maps `length` records of the array behind `map`, which must have been made with `BPF_F_MMAPABLE` and
    /// hold values of the size of `T`. The kernel refuses more records than the array has.
    pub(crate) fn map(map: BorrowedFd<'_>, length: u32, writable: bool) -> io::Result<Self> {
        let bytes = (length as usize).checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of this process.
        let start = unsafe { mmap(ptr::null_mut(), bytes, protection, MapFlags::SHARED, map, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes, length, records: PhantomData })
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> u32 {
        self.length
    }

    /// Reads a record; `None` beyond the end.
    pub(crate) fn load(&self, index: u32) -> Option<T> {
        let source = self.words(index)?;
        let mut record = T::default();
        let target = (&raw mut record).cast::<u64>();
        for (at, word) in source.iter().enumerate() {
            // SAFETY: a record is made of as many words as `words` gives, and every pattern of them is valid.
            unsafe { target.add(at).write(word.load(Ordering::Relaxed)) };
        }
        Some(record)
    }

    /// Writes a record of a writable mapping; nothing beyond the end.
    pub(crate) fn store(&self, index: u32, record: &T) {
        let source = ptr::from_ref(record).cast::<u64>();
        for (at, word) in self.words(index).unwrap_or_default().iter().enumerate() {
            // SAFETY: a record is made of as many words as `words` gives.
            word.store(unsafe { source.add(at).read() }, Ordering::Relaxed);
        }
    }

    /// Adds each word of `record`, wrapping, in one step.
    pub(crate) fn add(&self, index: u32, record: &T) {
        let source = ptr::from_ref(record).cast::<u64>();
        for (at, word) in self.words(index).unwrap_or_default().iter().enumerate() {
            // SAFETY: a record is made of as many words as `words` gives.
            word.fetch_add(unsafe { source.add(at).read() }, Ordering::Relaxed);
        }
    }

    fn words(&self, index: u32) -> Option<&[AtomicU64]> {
        if index >= self.length {
            return None;
        }
        // SAFETY: the record lies within the mapping, which starts at a page and lives as long as `self`; atomics
        // have the layout of their integers.
        Some(unsafe {
            let first = self.start.add(index as usize * size_of::<T>()).cast::<AtomicU64>();
            std::slice::from_raw_parts(first.as_ptr(), size_of::<T>() / size_of::<u64>())
        })
    }
}

impl SharedArray<u64> {
    /// Changes a word in one step to what `new` makes of it, or leaves it where that is `None`; whether it did. `None`
    /// beyond the end.
    pub(crate) fn change(&self, index: u32, new: impl Fn(u64) -> Option<u64>) -> Option<bool> {
        let word = self.words(index)?.first()?;
        Some(word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, new).is_ok())
    }
}

impl SharedArray<Counters> {
    /// Reads the counts of a record, and not what fills its cache line.
    pub(crate) fn counts(&self, index: u32) -> Option<Counts> {
        self.load(index).map(|counters| counters.counts)
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map` made, and no reference into it outlives `self`.
        let outcome = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(outcome.is_ok(), "unmapping what was mapped fails only for wrong addresses");
    }
}
