//! The machine: its names, memory, CPUs and users.
//!
//! The procfs crate parses `meminfo`, and nothing else here. The number of online CPUs is read at every collection,
//! from a file of a few bytes in /sys. procfs would take it from `/proc/stat` or `/proc/cpuinfo`, which grow with each
//! CPU and cost six and twelve times as much on a machine with two. The time of the machine's start has to be exact to
//! a clock tick, as the starts of processes are ([`Boot`](crate::sys::boot_clock::Boot)); `/proc/stat` has whole
//! seconds.

use std::{
    fs::{self, File},
    io::Read as _,
};

use nix::unistd::{Uid, User};
use procfs::Meminfo;

use super::{Proc, text::parse_by_procfs};

/// Bytes of `/proc/meminfo` that are read: ten times what a kernel writes.
const MEMINFO_LIMIT: u64 = 1 << 14;
/// Digits of a number of KiB that fits into a `u64` as bytes.
const MOST_DIGITS: usize = 15;

/// Files with the machine-id, the newer place first.
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";

/// Names of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The host name.
    pub name: String,
    /// The machine-id; `None` where there is none.
    pub id: Option<String>,
}

impl Host {
    /// Of this machine.
    pub fn this() -> Self {
        Self {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            id: MACHINE_IDS
                .iter()
                .filter_map(|path| fs::read_to_string(path).ok())
                .map(|id| id.trim().to_owned())
                .find(|id| !id.is_empty()),
        }
    }
}

/// The name of a user by the system's name services; `None` where they have none. May hang as long as they do.
pub fn user_name(id: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name)
}

/// Memory of the machine, bytes; `None` where it can't be read.
pub fn memory_bytes(proc: &Proc) -> Option<u64> {
    let mut text = Vec::new();
    let file = File::open(proc.root().join("meminfo")).ok()?;
    file.take(MEMINFO_LIMIT).read_to_end(&mut text).ok()?;
    memory_in(&text)
}

/// `MemTotal` of a `/proc/meminfo`, in bytes. What the file calls kB is 1024 bytes.
pub fn memory_in(meminfo: &[u8]) -> Option<u64> {
    // procfs panics where a name ends with a character of several bytes, and where a product is too large. It accepts
    // numbers with a sign, and takes those without a unit for bytes.
    let mut lines = std::str::from_utf8(meminfo).ok().filter(|text| text.is_ascii())?.lines();
    let is_harmless = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, value, unit) = (words.next()?, words.next()?, words.next());
        let is_number = value.len() <= MOST_DIGITS && value.bytes().all(|byte| byte.is_ascii_digit());
        let has_unit = unit == Some("kB") || (unit.is_none() && name != "MemTotal:");
        (is_number && has_unit).then_some(())
    };
    lines.try_for_each(is_harmless)?;
    parse_by_procfs::<Meminfo>(meminfo).map(|meminfo| meminfo.mem_total).filter(|&total| total > 0)
}

/// The number of online CPUs; `None` where it can't be read.
pub fn online_cpus() -> Option<u64> {
    cpus_in(fs::read_to_string(ONLINE_CPUS).ok()?.trim())
}

/// The number of CPUs in a list such as `0-3,5`.
pub fn cpus_in(list: &str) -> Option<u64> {
    list.split(',').try_fold(0_u64, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// The highest CPU number of such a list, plus 1.
pub fn numbered_cpus(list: &str) -> Option<u32> {
    list.rsplit(['-', ',']).next()?.parse::<u32>().ok()?.checked_add(1)
}

/// Whether a process's clock since boot differs from the machine's, by the text of its `timens_offsets`: a line for
/// each clock, with the offset in seconds and nanoseconds.
pub fn has_boot_offset(offsets: &str) -> bool {
    let mut lines = offsets.lines().map(|line| line.split_whitespace());
    lines.any(|mut words| words.next() == Some("boottime") && words.any(|word| word != "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that a kernel wrote.
    const MEMINFO: &[u8] = include_bytes!("../../fuzz/corpus/proc_system/meminfo");

    #[test]
    fn a_list_of_cpus_is_counted() {
        assert_eq!(cpus_in("0"), Some(1));
        assert_eq!(cpus_in("0-3,5"), Some(5));
        assert_eq!(cpus_in("0-1,4-7"), Some(6));
        for nonsense in ["", "a", "3-1", "0-", "0-18446744073709551615"] {
            assert_eq!(cpus_in(nonsense), None, "{nonsense}");
        }
        let known = <procfs::CpuInfo as procfs::Current>::current().map(|info| info.num_cores());
        assert_eq!(online_cpus(), known.ok().and_then(|cores| u64::try_from(cores).ok()));
    }

    #[test]
    fn the_highest_number_is_that_of_the_last_cpu() {
        assert_eq!(numbered_cpus("0"), Some(1));
        assert_eq!(numbered_cpus("0-3,5"), Some(6));
        for nonsense in ["", "0-", "a", "4294967295"] {
            assert_eq!(numbered_cpus(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_boot_offset_may_be_of_seconds_or_nanoseconds() {
        assert!(!has_boot_offset("monotonic           0         0\nboottime            0         0\n"));
        assert!(!has_boot_offset("monotonic           1         0\n"));
        assert!(has_boot_offset("monotonic           0         0\nboottime           -1         0\n"));
        assert!(has_boot_offset("boottime            0         1\n"));
    }

    #[test]
    fn memory_is_read_in_bytes_and_nonsense_is_not() {
        let with = |line: &[u8]| {
            [line, &MEMINFO[MEMINFO.iter().position(|&it| it == b'\n').unwrap() + 1..]].concat()
        };
        assert_eq!(memory_in(&with(b"MemTotal:       24684368 kB\n")), Some(24_684_368 << 10));
        let nonsense: [&[u8]; 12] = [
            b"",
            b"MemTotal: 1",
            b"MemTotal: 1\n",
            b"MemTotal: 1 GB\n",
            b"MemTotal: 0 kB\n",
            b"MemTotal: -1 kB\n",
            b"MemTotal: +1 kB\n",
            b"MemTotal: 18014398509481984 kB\n",
            b"MemTotal: 1 kB\nMemFree: 18446744073709551615 kB\n",
            b"MemTotal: 1 kB\nMem\xc3\xbc 1 kB\n",
            b"MemFree: 1 kB\n",
            b"\xe2\x82:\n",
        ];
        for nonsense in nonsense {
            assert_eq!(memory_in(nonsense), None, "{nonsense:?}");
            assert_eq!(memory_in(&with(nonsense)), None, "{nonsense:?} before the other lines");
        }
        for cut in 0..MEMINFO.len() {
            // What of it is used stands far above the end.
            let is_line = MEMINFO[..cut].ends_with(b"\n");
            assert!(is_line || memory_in(&MEMINFO[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn this_machine_has_a_name_and_memory() {
        assert!(!Host::this().name.is_empty());
        assert!(memory_bytes(&Proc::new("/proc")).unwrap() > 1 << 20);
        assert_eq!(memory_bytes(&Proc::new("/nowhere")), None);
    }
}
