//! Gives memory back that only starting needs, which would else stay for as long as the agent runs.

use std::sync::OnceLock;

use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};
use rustix::mm::{Advice, madvise};

/// What is counted as anonymous in the kernel's list of mappings: pages that are no longer those of the file.
const ANONYMOUS: &str = "Anonymous";

/// Pieces of memory of this size and larger are the system's, taken for each and given back with it. Else the allocator
/// keeps as much as was ever freed at once, which is many times what is needed after the start.
const LARGE: i32 = 128 << 10;

/// Where files were mapped when the agent began, that can be read and not written to: the program's and its libraries',
/// which stay where they are. What is mapped later, as by the C library when it looks up a name, comes and goes while
/// other threads run.
static LASTING: OnceLock<Vec<(u64, u64)>> = OnceLock::new();

/// To be called when the agent starts, before it takes memory or starts threads.
pub fn begin() {
    let mappings = Process::myself().and_then(|this| this.maps());
    let lasting = mappings.iter().flatten().filter(|mapping| is_of_a_file_to_read(mapping));
    LASTING.get_or_init(|| lasting.map(|mapping| mapping.address).collect());
    // SAFETY: it sets a number that is read under the allocator's locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives back what the allocator keeps of freed memory, and the pages of programs and libraries that are only read or
/// executed: those that are needed again are still in the page cache, and are taken from there without reading the
/// disk.
pub fn give_back() {
    // SAFETY: it touches nothing but the allocator's own, under its locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let mappings = match Process::myself().and_then(|this| this.smaps()) {
        Ok(mappings) => mappings,
        Err(error) => return tracing::debug!("memory is not given back: {error}"),
    };
    let is_lasting = |mapping: &&MemoryMap| LASTING.get().is_some_and(|them| them.contains(&mapping.address));
    for mapping in mappings.iter().filter(is_lasting).filter(|mapping| is_as_in_the_file(mapping)) {
        let (start, end) = mapping.address;
        let (Ok(place), Ok(length)) = (usize::try_from(start), usize::try_from(end - start)) else {
            continue;
        };
        // SAFETY: the mapping is there for as long as the process, can't be written to, and all of its pages are the
        // file's: whoever reads there afterwards reads the same, be it now or while the pages go.
        let outcome =
            unsafe { madvise(std::ptr::with_exposed_provenance_mut(place), length, Advice::LinuxDontNeed) };
        if let Err(error) = outcome {
            tracing::debug!("a mapping is not given back: {error}");
        }
    }
}

/// Whether a mapping shows a file as it is, and can't be changed: not the data that the linker filled in and then made
/// read-only.
fn is_as_in_the_file(mapping: &MemoryMap) -> bool {
    is_of_a_file_to_read(mapping) && mapping.extension.map.get(ANONYMOUS) == Some(&0)
}

fn is_of_a_file_to_read(mapping: &MemoryMap) -> bool {
    matches!(mapping.pathname, MMapPath::Path(_))
        && mapping.perms.contains(MMPermissions::READ | MMPermissions::PRIVATE)
        && !mapping.perms.contains(MMPermissions::WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: impl Fn(&procfs::process::Status) -> Option<u64>) -> u64 {
        name(&Process::myself().unwrap().status().unwrap()).unwrap()
    }

    #[test]
    fn what_was_freed_and_what_was_only_read_is_resident_no_more() {
        // Too small each to be pieces of their own, and something behind them that stays.
        let pieces: Vec<Vec<u8>> = (0..1000).map(|_| vec![1; 64 << 10]).collect();
        let last = vec![1_u8; 64 << 10];
        let (anonymous, of_files) = (status(|it| it.rssanon), status(|it| it.rssfile));
        drop(pieces);
        begin();
        give_back();
        // Kibibytes; other tests run at the same time, and do not use as much.
        assert!(status(|it| it.rssanon) + 32_000 < anonymous);
        assert!(status(|it| it.rssfile) < of_files);
        assert_eq!(last[1], 1);
    }

    #[test]
    fn what_the_linker_filled_in_stays_as_it_is() {
        // Addresses of functions are in such data.
        let of_this = || Process::myself().unwrap().smaps().unwrap();
        let filled_in = |mapping: &&MemoryMap| {
            matches!(mapping.pathname, MMapPath::Path(_))
                && !mapping.perms.contains(MMPermissions::WRITE)
                && mapping.extension.map.get(ANONYMOUS).is_some_and(|&bytes| bytes > 0)
        };
        let before = of_this();
        assert!(before.iter().any(|mapping| filled_in(&mapping)), "nothing here is filled in: {before:?}");
        assert!(before.iter().filter(filled_in).all(|mapping| !is_as_in_the_file(mapping)));
        assert!(before.iter().any(is_as_in_the_file));
    }
}
