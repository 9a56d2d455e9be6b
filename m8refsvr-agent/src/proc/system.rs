//! What is known of the machine as a whole.

use std::fs;

use nix::unistd::{Uid, User};

use super::{Proc, number};

/// Where the identity of the machine is kept, the newer place first.
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";

/// A machine by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As `hostname` says.
    pub name: String,
    /// The machine-id; `None` where there is none.
    pub id: Option<String>,
}

impl Host {
    /// This machine.
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

/// The name of a user, as the system's directories have it; `None` where they have none.
pub fn user_name(id: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name)
}

/// Memory of the machine in bytes; `None` when it could not be read.
pub fn memory_bytes(proc: &Proc) -> Option<u64> {
    memory_in(&fs::read(proc.root().join("meminfo")).ok()?)
}

/// The memory of the machine that `/proc/meminfo` tells, in bytes. What the file calls kB is 1024 of them.
pub fn memory_in(meminfo: &[u8]) -> Option<u64> {
    let line = meminfo.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"MemTotal:"))?;
    let total = number(line.strip_suffix(b" kB")?.trim_ascii())?.checked_mul(1024);
    total.filter(|&total| total > 0)
}

/// CPUs that are online; `None` when that could not be read.
pub fn online_cpus() -> Option<u64> {
    cpus_in(fs::read_to_string(ONLINE_CPUS).ok()?.trim())
}

/// How many CPUs are in a list such as `0-3,5`.
pub fn cpus_in(list: &str) -> Option<u64> {
    list.split(',').try_fold(0_u64, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// How many CPUs have a number up to the highest of such a list: that, and one more for CPU 0.
pub fn numbered_cpus(list: &str) -> Option<u32> {
    list.rsplit(['-', ',']).next()?.parse::<u32>().ok()?.checked_add(1)
}

/// Whether `/proc/PID/timens_offsets` tells of another clock since boot: of each clock its offset in seconds and
/// nanoseconds.
pub fn has_boot_offset(offsets: &str) -> bool {
    let mut lines = offsets.lines().map(|line| line.split_whitespace());
    lines.any(|mut words| words.next() == Some("boottime") && words.any(|word| word != "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_is_counted() {
        assert_eq!(cpus_in("0"), Some(1));
        assert_eq!(cpus_in("0-3,5"), Some(5));
        assert_eq!(cpus_in("0-1,4-7"), Some(6));
        for nonsense in ["", "a", "3-1", "0-", "0-18446744073709551615"] {
            assert_eq!(cpus_in(nonsense), None, "{nonsense}");
        }
        assert!(online_cpus().unwrap() > 0);
    }

    #[test]
    fn the_highest_number_tells_how_many_cpus_are_numbered() {
        assert_eq!(numbered_cpus("0"), Some(1));
        assert_eq!(numbered_cpus("0-3,5"), Some(6));
        for nonsense in ["", "0-", "a", "4294967295"] {
            assert_eq!(numbered_cpus(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_clock_of_its_own_is_told_by_seconds_or_nanoseconds() {
        assert!(!has_boot_offset("monotonic           0         0\nboottime            0         0\n"));
        assert!(!has_boot_offset("monotonic           1         0\n"));
        assert!(has_boot_offset("monotonic           0         0\nboottime           -1         0\n"));
        assert!(has_boot_offset("boottime            0         1\n"));
    }

    #[test]
    fn memory_is_read_in_bytes_and_nonsense_is_not() {
        assert_eq!(
            memory_in(b"MemTotal:       24684368 kB\nMemFree:          1 kB\n"),
            Some(24_684_368 << 10)
        );
        let nonsense: [&[u8]; 7] = [
            b"",
            b"MemTotal: 1",
            b"MemTotal: 0 kB\n",
            b"MemTotal: -1 kB\n",
            b"MemTotal: 18014398509481984 kB\n",
            b"MemFree: 1 kB\n",
            b"\xe2\x82:\n",
        ];
        for nonsense in nonsense {
            assert_eq!(memory_in(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn this_machine_has_a_name_and_memory() {
        assert!(!Host::this().name.is_empty());
        assert!(memory_bytes(&Proc::new("/proc")).unwrap() > 1 << 20);
        assert_eq!(memory_bytes(&Proc::new("/nowhere")), None);
    }
}
