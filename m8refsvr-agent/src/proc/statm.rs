//! `/proc/PID/statm`: the memory of a process. `stat` has it too, but since Linux 6.2 its number of resident pages is
//! an estimate: each CPU may hold back 32 or more pages of a kind (`get_mm_rss`), so that a small process on a large
//! machine can have 0. For `statm` the kernel adds them up since commit 82241a83cd15 (`get_mm_counter_sum`), which
//! takes longer with more CPUs.

use rustix::param::page_size;

use super::{Process, Unreadable, text::leading_number};

/// Memory of a process, pages of all kinds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Size of the address space.
    pub virtual_bytes: u64,
    /// The resident part (RSS).
    pub resident_bytes: u64,
}

impl Memory {
    /// Reads the file.
    pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read_statm(buffer)?;
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// The first two numbers of the line are pages.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let bytes = |pages: u64| pages.saturating_mul(page_size() as u64);
        let second = memchr::memchr(b' ', line)? + 1;
        Some(Self {
            virtual_bytes: bytes(leading_number(line)?),
            resident_bytes: bytes(leading_number(line.get(second..)?)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Proc;

    #[test]
    fn the_first_two_numbers_are_pages() {
        let page = page_size() as u64;
        let memory = Memory::parse(b"2767 1012 700 1 0 300 0\n");
        assert_eq!(memory, Some(Memory { virtual_bytes: 2767 * page, resident_bytes: 1012 * page }));
        assert_eq!(Memory::parse(b"0 0 0 0 0 0 0\n"), Some(Memory { virtual_bytes: 0, resident_bytes: 0 }));
    }

    #[test]
    fn what_is_no_number_is_not_understood() {
        for line in ["", "\n", " ", "1", "1 ", "1  2 3", "1 x", "-1 2", "1 2", "99999999999999999999 1 2"] {
            assert_eq!(Memory::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn the_own_memory_can_be_read() {
        let process = Proc::new("/proc").process(std::process::id()).unwrap();
        let memory = Memory::read(&process, &mut Vec::new()).unwrap();
        assert!(memory.resident_bytes > 0 && memory.virtual_bytes > memory.resident_bytes);
    }
}
