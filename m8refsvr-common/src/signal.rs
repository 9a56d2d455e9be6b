//! The three signals that the BPF programs give. Each is attached on its own, in a variant of its own, and each can
//! fail on its own.

use crate::table::table;

/// What BPF programs are attached for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Context switches.
    ContextSwitches,
    /// Requests to block devices.
    BlockIo,
    /// Starts and ends of processes.
    Lifecycle,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ContextSwitches, Self::BlockIo, Self::Lifecycle];
}

table! {
    /// Something of each [`Signal`].
    PerSource {
        /// Of context switches.
        context_switches,
        /// Of requests to block devices.
        block_io,
        /// Of starts and ends of processes.
        lifecycle,
    }
}

impl<T> PerSource<T> {
    /// Made by `make` for each signal.
    pub fn of(mut make: impl FnMut(Signal) -> T) -> Self {
        Self {
            context_switches: make(Signal::ContextSwitches),
            block_io: make(Signal::BlockIo),
            lifecycle: make(Signal::Lifecycle),
        }
    }

    /// What it has of a signal.
    pub const fn get(&self, signal: Signal) -> &T {
        match signal {
            Signal::ContextSwitches => &self.context_switches,
            Signal::BlockIo => &self.block_io,
            Signal::Lifecycle => &self.lifecycle,
        }
    }
}

/// How a signal's BPF programs are attached.
#[repr(u64)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// Not at all.
    #[default]
    None = 0,
    /// To raw tracepoints.
    RawTracepoint = 1,
    /// To classic tracepoints.
    Tracepoint = 2,
}

impl Variant {
    /// From its number in a record; `None` for a number that no variant has.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::RawTracepoint),
            2 => Some(Self::Tracepoint),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_survives_its_number() {
        for variant in [Variant::None, Variant::RawTracepoint, Variant::Tracepoint] {
            assert_eq!(Variant::from_number(variant as u64), Some(variant));
        }
        assert_eq!(Variant::from_number(3), None);
    }

    #[test]
    fn what_was_made_for_a_signal_is_found_by_it() {
        let signals = PerSource::of(|signal| signal);
        assert!(Signal::ALL.iter().all(|signal| signals.get(*signal) == signal));
    }
}
