//! Numbers that only grow while a process lives, and what is done with them alike.

use std::time::Duration;

use m8refsvr_common::record::{Accounting, Counts};

use crate::{
    proc::{io::StorageIo, stat::Stat},
    sys::boot_clock::of_ticks,
};

/// What only grows while a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// CPU time in user mode, nanoseconds.
    CpuUser,
    /// CPU time in the kernel, nanoseconds.
    CpuSystem,
    /// Page faults without input.
    MinorFaults,
    /// Page faults with input.
    MajorFaults,
    /// Bytes fetched from storage.
    StorageRead,
    /// Bytes of pages made dirty.
    StorageWrite,
    /// Bytes in read requests to block devices.
    BlockRead,
    /// Bytes in write requests to block devices.
    BlockWrite,
    /// Read requests to block devices.
    BlockReads,
    /// Write requests to block devices.
    BlockWrites,
    /// Context switches in which a thread began to wait.
    Voluntary,
    /// Context switches in which a thread was preempted or yielded.
    Involuntary,
}

impl Counter {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::CpuUser,
        Self::CpuSystem,
        Self::MinorFaults,
        Self::MajorFaults,
        Self::StorageRead,
        Self::StorageWrite,
        Self::BlockRead,
        Self::BlockWrite,
        Self::BlockReads,
        Self::BlockWrites,
        Self::Voluntary,
        Self::Involuntary,
    ];

    /// Whether it is one of block I/O, which /proc knows nothing of.
    pub fn is_block_io(self) -> bool {
        matches!(self, Self::BlockRead | Self::BlockWrite | Self::BlockReads | Self::BlockWrites)
    }
}

/// A number for each [`Counter`]; `None` where none could be read. Half as long as so many `Option`s, as there are some of
/// them for each process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// 0 where there is none.
    numbers: [u64; Counter::ALL.len()],
    /// A bit for each that there is.
    known: u16,
}

// A counter without a bit of its own would be another's.
const _: () = {
    assert!(Counter::ALL.len() <= u16::BITS as usize);
    let mut number = 0;
    while number < Counter::ALL.len() {
        assert!(Counter::ALL[number] as usize == number);
        number += 1;
    }
};

impl Totals {
    /// One made of what `number` says.
    pub fn of(mut number: impl FnMut(Counter) -> Option<u64>) -> Self {
        let mut totals = Self::default();
        for counter in Counter::ALL {
            if let Some(number) = number(counter) {
                totals.numbers[counter as usize] = number;
                totals.known |= 1 << counter as u16;
            }
        }
        totals
    }

    /// What the kernel's accounting has of a process. `has_storage` says whether it accounts storage I/O.
    pub(crate) fn of_figures(figures: &Accounting, has_storage: bool) -> Self {
        let (user, system) = divided(figures.runtime, figures.user, figures.system);
        Self::of(|counter| match counter {
            Counter::CpuUser => Some(user),
            Counter::CpuSystem => Some(system),
            Counter::MinorFaults => Some(figures.minor_faults),
            Counter::MajorFaults => Some(figures.major_faults),
            Counter::StorageRead => has_storage.then_some(figures.read_bytes),
            Counter::StorageWrite => has_storage.then_some(figures.write_bytes),
            Counter::Voluntary => Some(figures.voluntary),
            Counter::Involuntary => Some(figures.involuntary),
            Counter::BlockRead | Counter::BlockWrite | Counter::BlockReads | Counter::BlockWrites => None,
        })
    }

    /// What /proc shows of a process, but its context switches.
    pub(crate) fn of_proc(stat: &Stat, storage: Option<&StorageIo>) -> Self {
        Self::of(|counter| match counter {
            Counter::CpuUser => Some(nanoseconds(of_ticks(stat.user_ticks))),
            Counter::CpuSystem => Some(nanoseconds(of_ticks(stat.system_ticks))),
            Counter::MinorFaults => Some(stat.minor_faults),
            Counter::MajorFaults => Some(stat.major_faults),
            Counter::StorageRead => Some(storage?.read_bytes),
            Counter::StorageWrite => Some(storage?.write_bytes),
            _ => None,
        })
    }

    /// With what the programs counted for a process in place of what it has of the same.
    pub(crate) fn with_counts(&self, counts: &Counts, has_block_io: bool) -> Self {
        Self::of(|counter| {
            let block = |bytes: u64| has_block_io.then_some(bytes);
            match counter {
                Counter::Voluntary => Some(counts.voluntary),
                Counter::Involuntary => Some(counts.involuntary),
                Counter::BlockRead => block(counts.read_bytes),
                Counter::BlockWrite => block(counts.write_bytes),
                Counter::BlockReads => block(counts.read_operations),
                Counter::BlockWrites => block(counts.write_operations),
                _ => self.get(counter),
            }
        })
    }

    /// With this storage I/O in place of what it has of the same.
    pub(crate) fn with_storage(&self, storage: &StorageIo) -> Self {
        Self::of(|counter| match counter {
            Counter::StorageRead => Some(storage.read_bytes),
            Counter::StorageWrite => Some(storage.write_bytes),
            _ => self.get(counter),
        })
    }

    /// With those numbers of `other` that the programs count.
    pub(crate) fn with_counts_of(&self, other: &Self) -> Self {
        Self::of(|counter| match counter {
            Counter::Voluntary | Counter::Involuntary => other.get(counter),
            counter if counter.is_block_io() => other.get(counter),
            counter => self.get(counter),
        })
    }

    /// With the CPU time divided so that neither part is less than in `seen`, and the sum stays. The kernel does the
    /// same with what it shows (`cputime_adjust` in `kernel/sched/cputime.c`), but keeps to itself what it has shown.
    pub(crate) fn balanced(&self, seen: &Self) -> Self {
        let parts = self.get(Counter::CpuUser).zip(self.get(Counter::CpuSystem));
        let Some((user, system)) = parts else { return *self };
        let seen = |counter| seen.get(counter).unwrap_or_default();
        let least = seen(Counter::CpuSystem).min(user + system);
        let user = user.max(seen(Counter::CpuUser)).min(user + system - least);
        let system = self.get(Counter::CpuUser).unwrap_or_default() + system - user;
        Self::of(|counter| match counter {
            Counter::CpuUser => Some(user),
            Counter::CpuSystem => Some(system),
            other => self.get(other),
        })
    }

    /// One of its numbers.
    pub fn get(&self, counter: Counter) -> Option<u64> {
        (self.known & 1 << counter as u16 != 0).then_some(self.numbers[counter as usize])
    }

    /// Less `other`, where it has a number; never below 0.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self::of(|counter| Some(self.get(counter)?.saturating_sub(other.get(counter).unwrap_or_default())))
    }

    /// With `other` where that has a number.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self::of(|counter| match (self.get(counter), other.get(counter)) {
            (Some(own), Some(other)) => Some(own.saturating_add(other)),
            (own, other) => own.or(other),
        })
    }
}

/// A total, and what it was at the previous collection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// At the last collection.
    pub now: Totals,
    /// At the previous collection.
    pub before: Totals,
}

impl Account {
    /// One that did not change.
    pub fn steady(totals: Totals) -> Self {
        Self { now: totals, before: totals }
    }

    /// Less `other`, where it has a number.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self { now: self.now.minus(&other.now), before: self.before.minus(&other.before) }
    }

    /// With `other`.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self { now: self.now.plus(&other.now), before: self.before.plus(&other.before) }
    }

    /// A collection is over: what was its total is now that of the previous collection.
    pub(crate) fn turn(&mut self) {
        self.before = self.now;
    }
}

/// A length of time as it is kept in [`Totals`].
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How an exact time on a CPU is divided into that in user mode and that in the kernel, of which the clock ticks have
/// a sample: in the same proportion. Source: `cputime_adjust` in `kernel/sched/cputime.c`.
fn divided(exact: u64, user: u64, system: u64) -> (u64, u64) {
    let ticks = u128::from(user) + u128::from(system);
    if exact == 0 || ticks == 0 {
        // Too short for any tick: the kernel takes that for time in user mode.
        return (exact, 0);
    }
    let system = u128::from(exact) * u128::from(system) / ticks;
    let system = u64::try_from(system).unwrap_or(exact);
    (exact - system, system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(user: u64, system: u64) -> Totals {
        Totals::of(|counter| match counter {
            Counter::CpuUser => Some(user),
            Counter::CpuSystem => Some(system),
            _ => None,
        })
    }

    #[test]
    fn the_exact_time_is_divided_as_the_ticks_are() {
        assert_eq!(divided(1000, 3, 1), (750, 250));
        assert_eq!(divided(1000, 0, 7), (0, 1000));
        assert_eq!(divided(1000, 7, 0), (1000, 0));
        assert_eq!(divided(1000, 0, 0), (1000, 0));
        assert_eq!(divided(u64::MAX, u64::MAX, u64::MAX), (u64::MAX - u64::MAX / 2, u64::MAX / 2));
    }

    #[test]
    fn no_part_of_the_last_cpu_time_is_less_than_was_seen_and_its_sum_stays() {
        assert_eq!(cpu(50, 50).balanced(&cpu(60, 30)), cpu(60, 40));
        assert_eq!(cpu(50, 50).balanced(&cpu(30, 60)), cpu(40, 60));
        assert_eq!(cpu(50, 50).balanced(&cpu(30, 30)), cpu(50, 50));
        // What was seen was more than there is: nothing is made up.
        assert_eq!(cpu(50, 50).balanced(&cpu(90, 30)), cpu(70, 30));
        assert_eq!(cpu(50, 50).balanced(&cpu(0, 130)), cpu(0, 100));
        assert_eq!(cpu(50, 50).balanced(&Totals::default()), cpu(50, 50));
    }
}
