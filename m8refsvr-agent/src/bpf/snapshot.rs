//! The content of the maps at one moment, for people who look for an error.

use m8refsvr_common::record::{Counts, DropsRecord, ExitRecord, ProcessRecord, SettingsRecord};

/// All maps at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the maps were made with.
    pub settings: SettingsRecord,
    /// Every process that has a slot, by process id.
    pub slots: Vec<Slot>,
    /// Slots whose holder is over, and of which the agent has not yet taken the last figures.
    pub over: Vec<OverSlot>,
    /// What could not be counted.
    pub losses: DropsRecord,
}

/// A slot whose holder is over.
#[derive(Clone, Debug)]
pub struct OverSlot {
    /// The slot, from 1.
    pub slot: u32,
    /// Who held it.
    pub target: ProcessRecord,
    /// Its beginning and end.
    pub life: ExitRecord,
}

/// A process and its slot.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The process, as the kernel programs know it.
    pub tgid: u32,
    /// Its slot, from 1.
    pub slot: u32,
    /// Who holds the slot, as the agent knows it.
    pub target: ProcessRecord,
    /// The counters of the slot, by CPU.
    pub cpus: Vec<Counts>,
}

impl Slot {
    /// The counters of all CPUs together.
    pub fn sum(&self) -> Counts {
        self.cpus.iter().fold(Counts::default(), |sum, counts| sum.plus(counts))
    }

    /// The totals of the process, as the agent reports them.
    pub fn totals(&self) -> Counts {
        self.sum().plus(&self.target.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_over_cpus_and_what_was_before() {
        let slot = Slot {
            tgid: 1,
            slot: 1,
            target: ProcessRecord {
                offset: Counts { voluntary: 0_u64.wrapping_sub(5), ..Counts::default() },
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
