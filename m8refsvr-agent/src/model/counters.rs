//! The counters of a process, which only grow, and the operations on all of them.

use m8refsvr_common::{accounting::Accounting, record::Counts};

use crate::{
    bpf::Switches,
    model::{
        counter_table::with_counters,
        cpu_time::{balanced, cpu_time, nanoseconds},
    },
    proc::{io::IoAccounting, stat::Stat},
    sys::boot_clock::of_ticks,
};

/// Where a counter is read while its process lives.
#[derive(Clone, Copy)]
pub enum Origin {
    /// In `/proc/PID/stat`.
    Stat(fn(&Stat) -> u64),
    /// In `/proc/PID/io`.
    Io(fn(&IoAccounting) -> u64),
    /// Counted by the BPF programs, or else read from `/proc/PID/task/TID/status`.
    Switches(fn(&Switches) -> u64),
    /// Counted by the BPF programs; /proc does not have it.
    BlockIo(fn(&Counts) -> u64),
}

macro_rules! counters {
    ($($metric:literal [$unit:literal] $description:literal by $attribute:literal {
        $($(#[$doc:meta])* $name:ident: $value:literal, $key:literal, $origin:ident($read:expr), $accounted:expr;)+
    })+) => {
        /// A value of a process that only grows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $($($(#[$doc])* $name,)+)+
        }

        impl Counter {
            /// All counters, in the order of their discriminants.
            pub const ALL: &[Self] = &[$($(Self::$name,)+)+];

            /// Its key in the JSON document.
            pub fn key(self) -> &'static str {
                match self {
                    $($(Self::$name => $key,)+)+
                }
            }

            /// The unit of its metric, in UCUM.
            pub fn unit(self) -> &'static str {
                match self {
                    $($(Self::$name => $unit,)+)+
                }
            }

            /// Where it is read while the process lives.
            pub fn origin(self) -> Origin {
                match self {
                    $($(Self::$name => Origin::$origin($read),)+)+
                }
            }

            /// Where the kernel's accounting has it.
            fn accounted(self) -> fn(&Accounting<Option<u64>>) -> Option<u64> {
                match self {
                    $($(Self::$name => $accounted,)+)+
                }
            }
        }
    };
}

with_counters!(counters);

impl Counter {
    /// Whether it is a time, which is kept in nanoseconds and exported in seconds.
    pub fn is_time(self) -> bool {
        self.unit() == "s"
    }

    /// Whether it counts block I/O, which /proc does not have.
    pub fn is_block_io(self) -> bool {
        self.origin().kind() == OriginKind::BlockIo
    }
}

/// The kind of an [`Origin`], which selects all counters read there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OriginKind {
    Stat,
    Io,
    Switches,
    BlockIo,
}

impl Origin {
    pub fn kind(self) -> OriginKind {
        match self {
            Self::Stat(_) => OriginKind::Stat,
            Self::Io(_) => OriginKind::Io,
            Self::Switches(_) => OriginKind::Switches,
            Self::BlockIo(_) => OriginKind::BlockIo,
        }
    }
}

/// What was read of a living process, by origin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readings<'a> {
    pub stat: Option<&'a Stat>,
    pub io: Option<&'a IoAccounting>,
    pub switches: Option<&'a Switches>,
    /// What the BPF programs counted, if they count block I/O.
    pub block_io: Option<&'a Counts>,
}

/// The value of each [`Counter`]; `None` for what could not be read. Half the size of an array of `Option`s, as each
/// process has several of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// 0 where there is no value.
    values: [u64; Counter::ALL.len()],
    /// A bit for each value that there is.
    known: u32,
}

// Each counter needs a bit of its own: two counters must not share one.
const _: () = {
    assert!(Counter::ALL.len() <= u32::BITS as usize);
    let mut number = 0;
    while number < Counter::ALL.len() {
        assert!(Counter::ALL[number] as usize == number);
        number += 1;
    }
};

impl Totals {
    /// With the value that `value` returns for each counter.
    pub fn of(mut value: impl FnMut(Counter) -> Option<u64>) -> Self {
        let mut totals = Self::default();
        for &counter in Counter::ALL {
            if let Some(value) = value(counter) {
                totals.values[counter as usize] = value;
                totals.known |= 1 << counter as u32;
            }
        }
        totals
    }

    pub fn read(readings: Readings<'_>) -> Self {
        Self::of(|counter| match counter.origin() {
            Origin::Stat(of) => readings.stat.map(of),
            Origin::Io(of) => readings.io.map(of),
            Origin::Switches(of) => readings.switches.map(of),
            Origin::BlockIo(of) => readings.block_io.map(of),
        })
    }

    /// What the kernel's accounting has of a process; `None` for what the kernel does not keep.
    pub(crate) fn accounted(accounting: &Accounting<Option<u64>>) -> Self {
        Self::of(|counter| counter.accounted()(accounting))
    }

    /// Replaces the values that these readings have.
    #[must_use]
    pub(crate) fn with(&self, readings: Readings<'_>) -> Self {
        Self::read(readings).or(self)
    }

    /// Takes the values that it has not from `other`.
    #[must_use]
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self::of(|counter| self.get(counter).or(other.get(counter)))
    }

    /// Takes the values of these origins from `other`.
    #[must_use]
    pub(crate) fn with_values_of(&self, other: &Self, kinds: &[OriginKind]) -> Self {
        Self::of(|counter| if kinds.contains(&counter.origin().kind()) { other } else { self }.get(counter))
    }

    /// Divides the CPU time anew so that neither part is less than in `seen`. The sum stays the same.
    pub(crate) fn balanced(&self, seen: &Self) -> Self {
        let parts = self.get(Counter::CpuUser).zip(self.get(Counter::CpuSystem));
        let Some(parts) = parts else { return *self };
        let seen = [Counter::CpuUser, Counter::CpuSystem].map(|part| seen.get(part).unwrap_or_default());
        let (user, system) = balanced(parts, seen.into());
        let mut totals = *self;
        totals.values[Counter::CpuUser as usize] = user;
        totals.values[Counter::CpuSystem as usize] = system;
        totals
    }

    pub fn get(&self, counter: Counter) -> Option<u64> {
        (self.known & 1 << counter as u32 != 0).then_some(self.values[counter as usize])
    }

    /// User and system CPU time together, nanoseconds.
    pub fn cpu_time(&self) -> Option<u64> {
        Some(self.get(Counter::CpuUser)?.saturating_add(self.get(Counter::CpuSystem)?))
    }

    /// Subtracts the values that `other` has; never below 0.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let less = |at: usize| self.values[at].saturating_sub(other.values[at]);
        Self { values: std::array::from_fn(less), known: self.known }
    }

    /// Adds the values that `other` has.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let sum = |at: usize| self.values[at].saturating_add(other.values[at]);
        Self { values: std::array::from_fn(sum), known: self.known | other.known }
    }
}

/// Totals at the last collection and at the one before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    pub now: Totals,
    /// At the collection before the last.
    pub before: Totals,
    /// User and system CPU time since the collection that was exported last, nanoseconds.
    pub unexported_cpu: [u64; 2],
}

impl Account {
    /// Totals that did not change since the previous collection.
    pub fn steady(totals: Totals) -> Self {
        Self { now: totals, before: totals, unexported_cpu: [0; 2] }
    }

    /// Subtracts the values that `other` has; never below 0.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self {
            now: self.now.minus(&other.now),
            before: self.before.minus(&other.before),
            unexported_cpu: self.each_cpu(other, u64::saturating_sub),
        }
    }

    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            now: self.now.plus(&other.now),
            before: self.before.plus(&other.before),
            unexported_cpu: self.each_cpu(other, u64::saturating_add),
        }
    }

    fn each_cpu(&self, other: &Self, combine: fn(u64, u64) -> u64) -> [u64; 2] {
        std::array::from_fn(|at| combine(self.unexported_cpu[at], other.unexported_cpu[at]))
    }

    /// Begins a new collection: the current totals become those of the previous one, which was exported or not.
    pub(crate) fn begin_collection(&mut self, was_exported: bool) {
        self.before = self.now;
        if was_exported {
            self.unexported_cpu = [0; 2];
        }
    }

    pub(crate) fn grow(&mut self, grown: &Totals) {
        self.now = self.now.plus(grown);
        let cpu = [Counter::CpuUser, Counter::CpuSystem].map(|part| grown.get(part).unwrap_or_default());
        for (unexported, grown) in self.unexported_cpu.iter_mut().zip(cpu) {
            *unexported = unexported.saturating_add(grown);
        }
    }
}
