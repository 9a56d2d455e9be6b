//! How a process ended, in the kernel's numbers and in words.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use m8refsvr_common::record::OOM_VICTIM;

use crate::model::{counters::Totals, sample::Identity};

/// A process that is over: it ended, or matches no more.
#[derive(Clone, Debug)]
pub struct ProcessEnd {
    /// Which.
    pub identity: Identity,
    /// Its name, as to be shown.
    pub name: Arc<str>,
    /// File name of its executable; `None` without the right to know it.
    pub executable: Option<Arc<str>>,
    /// The pattern that selected it, by its place.
    pub group: usize,
    /// How.
    pub how: EndKind,
    /// When it started.
    pub started: SystemTime,
    /// When it was over, or was seen to be.
    pub at: SystemTime,
    /// How long it ran.
    pub lasted: Duration,
    /// The most memory that it had at once, bytes.
    pub peak_bytes: Option<u64>,
    /// What it had when it began to match, or nothing if it started since the collection before that; `None` where that is not
    /// known.
    pub first: Option<Totals>,
    /// What it had in the end; absent where it is not known.
    pub last: Totals,
}

/// How a process is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// It ended.
    Exited(Exit),
    /// It goes on, but matches no more.
    Deselected,
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// By itself, with this code; 0 is normal.
    Code(u8),
    /// By this signal.
    Signal {
        /// Its number.
        number: u8,
        /// Whether its memory was written to a file.
        core_dumped: bool,
    },
    /// By the OOM killer.
    Oom,
    /// It is gone, and nothing tells why.
    Unknown,
}

impl Exit {
    /// From a status as `wait` has it, and [`OOM_VICTIM`].
    pub fn of_status(status: u64) -> Self {
        /// The bit beside the signal.
        const CORE_DUMPED: u64 = 0x80;
        let low = |word: u64| (word & 0xff) as u8;
        match low(status & 0x7f) {
            0 => Self::Code(low(status >> 8)),
            9 if status & OOM_VICTIM != 0 => Self::Oom,
            number => Self::Signal { number, core_dumped: status & CORE_DUMPED != 0 },
        }
    }

    /// Its reason, as it is exported.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Code(0) => "normal",
            Self::Code(_) => "error",
            Self::Signal { .. } => "signal",
            Self::Oom => "oom",
            Self::Unknown => "unknown",
        }
    }

    /// Its code, where it is not 0.
    pub fn code(self) -> Option<u8> {
        match self {
            Self::Code(code) if code != 0 => Some(code),
            _ => None,
        }
    }

    /// Its code, where it ended by itself.
    pub fn status_code(self) -> Option<u8> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that ended it.
    pub fn signal(self) -> Option<u8> {
        match self {
            Self::Signal { number, .. } => Some(number),
            Self::Oom => Some(9),
            _ => None,
        }
    }

    /// Whether its memory was written to a file.
    pub fn core_dumped(self) -> bool {
        matches!(self, Self::Signal { core_dumped: true, .. })
    }
}

/// Name of a signal, such as SIGKILL.
pub fn signal_name(number: u8) -> String {
    /// The first of the real-time signals that the C library leaves to programs.
    const RTMIN: u8 = 34;
    match signal_hook::low_level::signal_name(number.into()) {
        Some(name) => name.into(),
        None if number >= RTMIN => format!("SIGRTMIN+{}", number - RTMIN),
        None => format!("signal {number}"),
    }
}

impl ProcessEnd {
    /// A sentence for the log; `None` for a process that goes on.
    pub fn in_words(&self) -> Option<String> {
        let EndKind::Exited(exit) = self.how else { return None };
        let what = match exit {
            Exit::Code(0) => "ended normally".into(),
            Exit::Code(code) => format!("ended with code {code}"),
            Exit::Signal { number, core_dumped } => {
                let core = if core_dumped { ", core dumped" } else { "" };
                format!("was killed by signal {number} ({}{core})", signal_name(number))
            }
            Exit::Oom => "was killed by the OOM killer (SIGKILL)".into(),
            Exit::Unknown => "is gone".into(),
        };
        let peak = self.peak_bytes.map(|bytes| format!(", peak RSS {}", memory_in_words(bytes)));
        let (name, pid) = (&self.name, self.identity.pid);
        Some(format!("{name} {pid} {what} after {}{}", time_in_words(self.lasted), peak.unwrap_or_default()))
    }
}

/// The two largest units of a length of time.
fn time_in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large} {large_unit}")
        } else {
            format!("{large} {large_unit} {small} {small_unit}")
        }
    };
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86400, "d", seconds / 3600 % 24, "h"),
    }
}

/// Memory in the largest unit of which there is one.
fn memory_in_words(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|&(_, bits)| bytes >> bits > 0) {
        Some((unit, bits)) => {
            let tenths = (u128::from(bytes) * 10) >> bits;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn sentence(exit: Exit) -> String {
        let over = ProcessEnd {
            identity: Identity { pid: 4711, start_ticks: 5 },
            name: "M8RefSvr".into(),
            executable: None,
            group: 0,
            how: EndKind::Exited(exit),
            started: UNIX_EPOCH,
            at: UNIX_EPOCH,
            lasted: Duration::from_secs(3 * 3600 + 12 * 60 + 7),
            peak_bytes: Some(15_300_000_000),
            first: None,
            last: Totals::default(),
        };
        over.in_words().unwrap()
    }

    #[test]
    fn a_status_is_told_apart_as_wait_does() {
        assert_eq!(Exit::of_status(0), Exit::Code(0));
        assert_eq!(Exit::of_status(3 << 8), Exit::Code(3));
        assert_eq!(Exit::of_status(9), Exit::Signal { number: 9, core_dumped: false });
        assert_eq!(Exit::of_status(0x8b), Exit::Signal { number: 11, core_dumped: true });
        assert_eq!(Exit::of_status(9 | OOM_VICTIM), Exit::Oom);
        // Chosen by the OOM killer, but faster.
        assert_eq!(Exit::of_status(1 << 8 | OOM_VICTIM), Exit::Code(1));
    }

    #[test]
    fn an_end_is_a_sentence() {
        assert_eq!(
            sentence(Exit::of_status(9)),
            "M8RefSvr 4711 was killed by signal 9 (SIGKILL) after 3 h 12 min, peak RSS 14.2 GiB"
        );
        assert!(sentence(Exit::of_status(0x8b)).contains("signal 11 (SIGSEGV, core dumped) after"));
        assert!(sentence(Exit::Code(0)).contains("4711 ended normally after"));
        assert!(sentence(Exit::Code(3)).contains("4711 ended with code 3 after"));
        assert!(sentence(Exit::Oom).contains("OOM killer"));
        assert!(sentence(Exit::of_status(35)).contains("signal 35 (SIGRTMIN+1)"));
    }

    #[test]
    fn times_and_memory_have_units_for_people() {
        let time = |milliseconds| time_in_words(Duration::from_millis(milliseconds));
        assert_eq!(
            [48, 12_340, 303_000, 3_600_000, 90_000_000].map(time),
            ["48 ms", "12.3 s", "5 min 3 s", "1 h", "1 d 1 h"]
        );
        assert_eq!(
            [999, 1024, 1_572_864, 3 << 30].map(memory_in_words),
            ["999 B", "1.0 KiB", "1.5 MiB", "3.0 GiB"]
        );
    }
}
