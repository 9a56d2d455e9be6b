//! `/proc/PID/stat`: times, threads and faults, one line of numbers.

use super::{Process, Unreadable, text::leading_number};

/// `PF_KTHREAD` in `include/linux/sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// The fields that the agent uses. Their numbers are those in `Documentation/filesystems/proc.rst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// State of the leader thread: `R`, `S`, `D`, `Z` and others.
    pub state: u8,
    /// The id of the parent process.
    pub parent: u64,
    /// Whether it is a kernel thread.
    pub is_kernel_thread: bool,
    /// Page faults that read nothing from storage, of living and exited threads.
    pub minor_faults: u64,
    /// Page faults that read from storage.
    pub major_faults: u64,
    /// CPU time in user mode, in clock ticks, of living and exited threads.
    pub user_ticks: u64,
    /// CPU time in the kernel, in clock ticks.
    pub system_ticks: u64,
    /// Living threads.
    pub threads: u64,
    /// Start in clock ticks after boot.
    pub start_ticks: u64,
}

impl Stat {
    /// Reads the file. The line is left in `buffer`, for [`comm`].
    pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read_stat(buffer)?;
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// The name may hold anything, parentheses and newlines too. Only the state and numbers follow it, so that the last
    /// parenthesis ends it.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let close = memchr::memrchr(b')', line)?;
        // One space ends a field.
        let [b' ', state, b' ', rest @ ..] = line.get(close + 1..)? else { return None };
        let mut rest = rest;
        // `rest` is at field 4 now.
        let mut at = 4;
        let mut field = |wanted: usize| {
            while at < wanted {
                rest = &rest[memchr::memchr(b' ', rest)? + 1..];
                at += 1;
            }
            leading_number(rest)
        };
        Some(Self {
            state: *state,
            parent: field(4)?,
            is_kernel_thread: field(9)? & KERNEL_THREAD != 0,
            minor_faults: field(10)?,
            major_faults: field(12)?,
            user_ticks: field(14)?,
            system_ticks: field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
        })
    }

    /// Whether the whole process has exited and was not reaped yet. A leader thread that exited before the others is a
    /// zombie too, but its process lives.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }

    /// Whether the leader thread has exited before the others. /proc then shows no memory and no executable.
    pub fn has_no_leader(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads > 1
    }
}

/// `comm` of the process, up to 15 bytes of any kind.
pub fn comm(line: &[u8]) -> Option<&[u8]> {
    let open = memchr::memchr(b'(', line)?;
    line.get(open + 1..memchr::memrchr(b')', line)?)
}

/// Whether the line is of a thread other than the leader: `/proc/TID` can be opened, though it is not listed. Of such
/// threads alone `exit_signal` is -1 (`thread_group_leader` in `include/linux/sched/signal.h`). It is field 38.
pub fn is_of_thread(line: &[u8]) -> bool {
    let after_name = memchr::memrchr(b')', line).map(|close| &line[close..]);
    // The parenthesis stands where field 2 ends.
    after_name.and_then(|rest| rest.split(|&byte| byte == b' ').nth(38 - 2)) == Some(b"-1".as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "S 1 1 1 0 -1 4194560 120 5 3 7 250 130 1 2 20 0 9 0 4711 73728000 1234 \
                        18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n";

    fn line(comm: &str) -> Vec<u8> {
        format!("42 ({comm}) {REST}").into_bytes()
    }

    #[test]
    fn every_field_is_in_its_place() {
        let stat = Stat::parse(&line("M8RefSvr")).unwrap();
        let expected = Stat {
            state: b'S',
            parent: 1,
            is_kernel_thread: false,
            minor_faults: 120,
            major_faults: 3,
            user_ticks: 250,
            system_ticks: 130,
            threads: 9,
            start_ticks: 4711,
        };
        assert_eq!(stat, expected);
    }

    #[test]
    fn a_thread_is_told_from_a_process() {
        assert!(!is_of_thread(&line("M8RefSvr")));
        let of_thread = REST.replace(" 17 0 0", " -1 0 0");
        assert!(is_of_thread(format!("43 (a) S -1 (b) {of_thread}").as_bytes()));
        for cut in ["", "43", "43 (a", "43 (a)", "43 (a) S 1 1"] {
            assert!(!is_of_thread(cut.as_bytes()), "{cut:?}");
        }
    }

    #[test]
    fn a_name_may_hold_anything() {
        for comm in ["", " ", "a b", ")", "a) R 1 2 (b", "x\ny", "((", "))", "1 (2) S 3"] {
            let line = line(comm);
            let threads = Stat::parse(&line).unwrap().threads;
            assert_eq!((super::comm(&line), threads), (Some(comm.as_bytes()), 9), "{comm:?}");
        }
        let mut bytes = line("??");
        bytes[4] = 0xff;
        bytes[5] = 0;
        assert_eq!(comm(&bytes), Some([0xff, 0].as_slice()));
    }

    #[test]
    fn a_line_cut_off_anywhere_before_the_last_field_is_not_understood() {
        let whole = line("M8RefSvr");
        let needed = whole.len()
            - " 73728000 1234 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n".len();
        for cut in 0..=needed {
            assert_eq!(Stat::parse(&whole[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn a_zombie_is_a_process_that_has_exited_as_a_whole() {
        let stat = |state, threads| Stat { state, threads, ..Stat::parse(&line("x")).unwrap() };
        assert!(stat(b'Z', 1).is_zombie() && !stat(b'Z', 1).has_no_leader());
        assert!(stat(b'X', 0).is_zombie());
        assert!(!stat(b'Z', 2).is_zombie() && stat(b'Z', 2).has_no_leader());
        assert!(!stat(b'S', 1).is_zombie() && !stat(b'T', 4).has_no_leader());
    }

    #[test]
    fn the_own_process_can_be_read() {
        let process = super::super::Proc::new("/proc").process(std::process::id()).unwrap();
        let stat = Stat::read(&process, &mut Vec::new()).unwrap();
        assert!(stat.threads >= 1 && !stat.is_kernel_thread && !stat.is_zombie());
    }
}
