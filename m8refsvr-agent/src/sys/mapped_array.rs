//! BPF arrays mapped into this process: read and written without a system call.

use std::{
    cell::{Cell, RefCell},
    io,
    marker::PhantomData,
    os::fd::{BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use m8refsvr_common::{
    record::{Counts, CountsRecord, DropsRecord, ExitRecord, ProcessRecord, SettingsRecord},
    slot::SlotEntry,
};
use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
};

/// A record of whole, aligned 64-bit words in which every bit pattern is valid.
///
/// # Safety
/// The type is `#[repr(C)]` or a primitive, at least 8-aligned, without padding, and made of `u64` alone.
pub(crate) unsafe trait Record: Copy + Default {}

// SAFETY: checked at compile time in `m8refsvr_common::record`.
unsafe impl Record for CountsRecord {}
// SAFETY: as above.
unsafe impl Record for ProcessRecord {}
// SAFETY: as above.
unsafe impl Record for ExitRecord {}
// SAFETY: as above.
unsafe impl Record for DropsRecord {}
// SAFETY: as above.
unsafe impl Record for SettingsRecord {}
// SAFETY: one number.
unsafe impl Record for u64 {}
// SAFETY: transparent, over one number.
unsafe impl Record for SlotEntry {}

/// Bytes that are mapped at once. All that is mapped counts as resident memory, whether it is read or not: an array
/// with an element for each process id can have 32 MiB.
const WINDOW: usize = 64 << 10;
/// How many windows are kept on an array of which few elements are read at a time.
pub(crate) const FEW: usize = 16;

/// An array of records that the kernel and other processes may read and write at the same time. Each word is
/// read and written as a whole; a record as a whole may be half old, half new.
#[derive(Debug)]
pub(crate) struct SharedArray<T> {
    map: OwnedFd,
    protection: ProtFlags,
    length: u32,
    /// See [`Self::unmapped`].
    unmapped: Cell<bool>,
    /// The kept windows, each at its number modulo how many are kept at most.
    windows: RefCell<Vec<Option<Window>>>,
    records: PhantomData<T>,
}

impl<T: Record> SharedArray<T> {
    const PER_WINDOW: usize = WINDOW / size_of::<T>();

    /// Maps `length` records of the array behind `map`, which must have been made with `BPF_F_MMAPABLE` and
    /// hold as many values of the size of `T`. What was read stays mapped, `most` windows at most.
    pub(crate) fn map(map: BorrowedFd<'_>, length: u32, writable: bool, most: usize) -> io::Result<Self> {
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let map = map.try_clone_to_owned()?;
        let (unmapped, windows) = (Cell::default(), RefCell::default());
        let mut array = Self { map, protection, length, unmapped, windows, records: PhantomData };
        let count = (length as usize).div_ceil(Self::PER_WINDOW).min(most);
        // An array that can't be mapped fails here.
        let first = array.window(0)?;
        array.windows.get_mut().push(Some(first));
        array.windows.get_mut().resize_with(count.max(1), || None);
        Ok(array)
    }

    /// Whether a record could not be mapped into memory since the last call of [`Self::take_unmapped`]. Such a record
    /// is read as if it did not exist.
    pub(crate) fn unmapped(&self) -> bool {
        self.unmapped.get()
    }

    /// The same, and resets it.
    pub(crate) fn take_unmapped(&self) -> bool {
        self.unmapped.take()
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> u32 {
        self.length
    }

    /// Reads a record; `None` beyond the end.
    pub(crate) fn load(&self, index: u32) -> Option<T> {
        let mut record = T::default();
        let target = (&raw mut record).cast::<u64>();
        self.with(index, |words| {
            for (at, word) in words.iter().enumerate() {
                // SAFETY: a record is made of as many words as `with` gives, and every pattern of them is valid.
                unsafe { target.add(at).write(word.load(Ordering::Relaxed)) };
            }
        })?;
        Some(record)
    }

    /// Writes a record of a writable mapping; nothing beyond the end.
    pub(crate) fn store(&self, index: u32, record: &T) {
        let source = ptr::from_ref(record).cast::<u64>();
        self.with(index, |words| {
            for (at, word) in words.iter().enumerate() {
                // SAFETY: a record is made of as many words as `with` gives.
                word.store(unsafe { source.add(at).read() }, Ordering::Relaxed);
            }
        });
    }

    /// Adds each word of `record`, wrapping, in one step.
    pub(crate) fn add(&self, index: u32, record: &T) {
        let source = ptr::from_ref(record).cast::<u64>();
        self.with(index, |words| {
            for (at, word) in words.iter().enumerate() {
                // SAFETY: a record is made of as many words as `with` gives.
                word.fetch_add(unsafe { source.add(at).read() }, Ordering::Relaxed);
            }
        });
    }

    /// Gives `action` the words of a record; `None` beyond the end.
    fn with<R>(&self, index: u32, action: impl FnOnce(&[AtomicU64]) -> R) -> Option<R> {
        if index >= self.length {
            return None;
        }
        let index = index as usize;
        let (number, place) = (index / Self::PER_WINDOW, index % Self::PER_WINDOW);
        let mut windows = self.windows.borrow_mut();
        // Where all are kept, without a division.
        let at = if number < windows.len() { number } else { number % windows.len() };
        let kept = windows.get_mut(at)?;
        if kept.as_ref().is_none_or(|window| window.number != number) {
            // First, so that there are never more.
            *kept = None;
            let window = self.window(number).inspect_err(|_| self.unmapped.set(true));
            *kept = Some(window.ok()?);
        }
        let window = kept.as_ref()?;
        // SAFETY: the record lies within the window, which is at least as long as so many records and outlives what
        // `action` gets; atomics have the layout of their integers.
        let words = unsafe {
            let first = window.start.add(window.first + place * size_of::<T>()).cast::<AtomicU64>();
            std::slice::from_raw_parts(first.as_ptr(), size_of::<T>() / size_of::<u64>())
        };
        Some(action(words))
    }

    /// Maps the window with this number, which must lie within the array.
    fn window(&self, number: usize) -> io::Result<Window> {
        let records = (self.length as usize).saturating_sub(number * Self::PER_WINDOW).min(Self::PER_WINDOW);
        let from = number * Self::PER_WINDOW * size_of::<T>();
        // A mapping begins with a page.
        let first = from % page_size();
        let bytes = first + records * size_of::<T>();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of this process.
        let start = unsafe {
            mmap(ptr::null_mut(), bytes, self.protection, MapFlags::SHARED, &self.map, (from - first) as u64)
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Window { number, start, bytes, first })
    }
}

/// So many records of an array, in memory.
#[derive(Debug)]
struct Window {
    number: usize,
    start: NonNull<u8>,
    bytes: usize,
    /// Where in it the first of its records is.
    first: usize,
}

// SAFETY: all access is by atomic operations on memory that is shared with the kernel anyway.
unsafe impl Send for Window {}

impl SharedArray<SlotEntry> {
    /// Atomically replaces an entry by `new` of it, unless that is `None`. Returns whether it was replaced, and `None`
    /// for an index beyond the end.
    pub(crate) fn change(&self, index: u32, new: impl Fn(SlotEntry) -> Option<SlotEntry>) -> Option<bool> {
        let new = |word| new(SlotEntry(word)).map(|entry| entry.0);
        let change = |word: &AtomicU64| word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, new).is_ok();
        self.with(index, |words| words.first().is_some_and(change))
    }
}

impl SharedArray<CountsRecord> {
    /// Reads the counts of a record, and not what fills its cache line.
    pub(crate) fn counts(&self, index: u32) -> Option<Counts> {
        self.load(index).map(|counters| counters.counts)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `window` made, and no reference into it outlives `self`.
        let outcome = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(outcome.is_ok(), "unmapping what was mapped fails only for wrong addresses");
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    /// An array in a file, as long as three times what is kept of one.
    fn array<T: Record>() -> (std::fs::File, SharedArray<T>) {
        let length = 3 * FEW * WINDOW / size_of::<T>();
        let file = tempfile::tempfile().unwrap();
        file.set_len((length * size_of::<T>()) as u64).unwrap();
        let array = SharedArray::map(file.as_fd(), length as u32, true, FEW).unwrap();
        (file, array)
    }

    #[test]
    fn each_record_is_where_the_kernel_has_it_whatever_was_looked_at_before() {
        use std::os::unix::fs::FileExt as _;

        // Not of a size that windows, or pages, are a multiple of.
        let (file, array) = array::<ExitRecord>();
        let record =
            |index: u32| ExitRecord { start: index.into(), end: !u64::from(index), ..ExitRecord::default() };
        for index in 0..array.len() {
            array.store(index, &record(index));
        }
        // Strides that meet each place of a window, and windows in each order.
        for index in (0..array.len()).chain((0..array.len()).rev().step_by(317)) {
            let found = array.load(index).unwrap();
            assert_eq!((found.start, found.end), (record(index).start, record(index).end));
            let mut word = [0; 8];
            let place = std::mem::offset_of!(ExitRecord, start) + index as usize * size_of::<ExitRecord>();
            file.read_exact_at(&mut word, place as u64).unwrap();
            assert_eq!(u64::from_ne_bytes(word), u64::from(index));
        }
        assert!(array.load(array.len()).is_none());
    }

    #[test]
    fn what_can_not_be_mapped_is_known() {
        let (_file, mut array) = array::<u64>();
        assert!(!array.take_unmapped());
        // As if memory had become scarce.
        array.map = std::fs::File::open("/dev/null").unwrap().into();
        assert_eq!(array.load(0), Some(0));
        assert!(!array.take_unmapped());
        assert_eq!(array.load(array.len() - 1), None);
        assert_eq!((array.unmapped(), array.take_unmapped(), array.unmapped()), (true, true, false));
    }

    #[test]
    fn only_so_much_of_an_array_is_mapped_at_once() {
        let (file, array) = array::<SlotEntry>();
        for index in 0..array.len() {
            assert_eq!(array.change(index, |entry| Some(SlotEntry(entry.0 + 1))), Some(true));
        }
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        let mappings = procfs::process::Process::myself().unwrap().maps().unwrap();
        let of_it = mappings.iter().filter(|mapping| mapping.inode == inode);
        let bytes: u64 = of_it.map(|mapping| mapping.address.1 - mapping.address.0).sum();
        assert_eq!(bytes, (FEW * WINDOW) as u64);
        assert_eq!(array.change(array.len(), Some), None);
        assert_eq!(array.load(array.len() - 1), Some(SlotEntry(1)));
    }
}
