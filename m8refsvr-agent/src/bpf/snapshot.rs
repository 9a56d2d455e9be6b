//! The content of the maps at one moment, for people who search for an error.

use m8refsvr_common::{
    record::{Counts, DropsRecord, ExitRecord, ProcessRecord, SettingsRecord},
    slot::{Slot, Tgid},
};

/// All maps at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the maps were made with.
    pub settings: SettingsRecord,
    /// Every process that has a slot, by process id.
    pub tracked: Vec<TrackedSlot>,
    /// Slots whose process has exited or was deselected, and of which the agent has not yet read the last values.
    pub ended: Vec<EndedSlot>,
    /// What could not be counted.
    pub drops: DropsRecord,
}

/// A slot whose process has exited or was deselected.
#[derive(Clone, Debug)]
pub struct EndedSlot {
    /// The slot.
    pub slot: Slot,
    /// Its process.
    pub process: ProcessRecord,
    /// Start and end of the process.
    pub exit: ExitRecord,
}

/// A slot and its process.
#[derive(Clone, Debug)]
pub struct TrackedSlot {
    /// The process whose entry leads to the slot.
    pub tgid: Tgid,
    /// The slot.
    pub slot: Slot,
    /// The process as the slot's record has it.
    pub process: ProcessRecord,
    /// The counters of the slot, by CPU.
    pub cpus: Vec<Counts>,
}

impl TrackedSlot {
    /// The counters of all CPUs together.
    pub fn sum(&self) -> Counts {
        self.cpus.iter().fold(Counts::default(), |sum, counts| sum.plus(counts))
    }

    /// The totals of the process, as the agent reports them.
    pub fn totals(&self) -> Counts {
        self.sum().plus(&self.process.baseline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_over_cpus_and_what_was_before() {
        let slot = TrackedSlot {
            tgid: Tgid(1),
            slot: Slot::new(1).unwrap(),
            process: ProcessRecord {
                baseline: Counts { voluntary: 0_u64.wrapping_sub(5), ..Counts::default() },
                ..ProcessRecord::default()
            },
            cpus: vec![
                Counts { voluntary: 7, ..Counts::default() },
                Counts { voluntary: 8, ..Counts::default() },
            ],
        };
        assert_eq!(slot.sum().voluntary, 15);
        assert_eq!(slot.totals().voluntary, 10);
    }
}
