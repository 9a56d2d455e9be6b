//! The content of the maps, as JSON for programs and as tables for people.

use std::fmt::{self, Display, Formatter};

use m8refsvr_common::{
    accounting::Accounting,
    record::{Counts, ProcessState},
    signal::Variant,
};
use serde::Serialize;

use crate::{
    bpf::{EndedSlot, Snapshot},
    model::source::Source,
};

/// The maps of an agent, to be shown.
#[derive(Clone, Debug, Serialize)]
pub struct Dump {
    agent: AgentFields,
    settings: SettingFields,
    targets: Vec<TargetFields>,
    /// Slots whose holders are over, and of which the last figures are still to be taken.
    over: Vec<OverFields>,
    losses: LossFields,
}

#[derive(Clone, Debug, Serialize)]
struct AgentFields {
    pid: u32,
    /// Whether the maps are those of an agent that runs on its own, and not loaded for this dump.
    running: bool,
}

#[derive(Clone, Debug, Serialize)]
struct SettingFields {
    layout: u64,
    capacity: u64,
    cpus: u64,
    pid_max: u64,
    context_switches: &'static str,
    block_io: &'static str,
    lifecycle: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct TargetFields {
    tgid: u32,
    slot: u32,
    /// As the agent noted it; differs from `tgid` only when something is wrong.
    noted_tgid: u64,
    start_ticks: u64,
    /// Counters of the slot, of each CPU that counted anything.
    cpus: Vec<CpuFields>,
    sum: CountFields<u64>,
    /// What the agent adds to the sum.
    offset: CountFields<i64>,
    totals: CountFields<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct OverFields {
    tgid: u64,
    slot: u32,
    start_ticks: u64,
    /// `ended`, or `left` for another program.
    state: &'static str,
    /// As `wait` tells.
    status: u64,
    /// What the kernel's accounting had of it.
    figures: FigureFields,
}

#[derive(Clone, Debug, Serialize)]
struct FigureFields {
    /// Nanoseconds.
    cpu_time: u64,
    minor_page_faults: u64,
    major_page_faults: u64,
    disk_read_bytes: u64,
    disk_write_bytes: u64,
    voluntary_ctx_switches: u64,
    nonvoluntary_ctx_switches: u64,
}

impl OverFields {
    fn new(over: &EndedSlot) -> Self {
        let Accounting { runtime, minor_faults, major_faults, read_bytes, write_bytes, .. } =
            over.exit.accounting_at_end;
        Self {
            tgid: over.process.tgid,
            slot: over.slot.number(),
            start_ticks: over.process.start_ticks,
            state: if over.process.state == ProcessState::Deselected as u64 { "left" } else { "ended" },
            status: over.exit.status,
            figures: FigureFields {
                cpu_time: runtime,
                minor_page_faults: minor_faults,
                major_page_faults: major_faults,
                disk_read_bytes: read_bytes,
                disk_write_bytes: write_bytes,
                voluntary_ctx_switches: over.exit.accounting_at_end.voluntary,
                nonvoluntary_ctx_switches: over.exit.accounting_at_end.involuntary,
            },
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct CpuFields {
    cpu: usize,
    #[serde(flatten)]
    counts: CountFields<u64>,
}

/// The counts by the names that they have in the document.
#[derive(Clone, Copy, Debug, Serialize)]
struct CountFields<T> {
    voluntary_ctx_switches: T,
    nonvoluntary_ctx_switches: T,
    block_read_bytes: T,
    block_write_bytes: T,
    block_read_operations: T,
    block_write_operations: T,
}

impl<T> CountFields<T> {
    fn new(counts: &Counts, word: impl Fn(u64) -> T) -> Self {
        Self {
            voluntary_ctx_switches: word(counts.voluntary),
            nonvoluntary_ctx_switches: word(counts.involuntary),
            block_read_bytes: word(counts.read_bytes),
            block_write_bytes: word(counts.write_bytes),
            block_read_operations: word(counts.read_operations),
            block_write_operations: word(counts.write_operations),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct LossFields {
    no_free_slot: u64,
    tgid_out_of_range: u64,
    events: u64,
}

impl Dump {
    /// Of the maps of the agent `pid`.
    pub fn new(snapshot: &Snapshot, pid: u32, running: bool) -> Self {
        let settings = &snapshot.settings;
        let variants = settings.variants.map(|number| match Variant::from_number(number) {
            Some(Variant::RawTracepoint) => Source::RawTracepoint.name(),
            Some(Variant::Tracepoint) => Source::Tracepoint.name(),
            Some(Variant::None) => Source::None.name(),
            None => "unknown",
        });
        let targets = snapshot.tracked.iter().map(|slot| TargetFields {
            tgid: slot.tgid.0,
            slot: slot.slot.number(),
            noted_tgid: slot.process.tgid,
            start_ticks: slot.process.start_ticks,
            cpus: slot
                .cpus
                .iter()
                .enumerate()
                .filter(|(_, counts)| **counts != Counts::default())
                .map(|(cpu, counts)| CpuFields { cpu, counts: CountFields::new(counts, |word| word) })
                .collect(),
            sum: CountFields::new(&slot.sum(), |word| word),
            offset: CountFields::new(&slot.process.baseline, u64::cast_signed),
            totals: CountFields::new(&slot.totals(), |word| word),
        });
        Self {
            agent: AgentFields { pid, running },
            settings: SettingFields {
                layout: settings.layout,
                capacity: settings.capacity,
                cpus: settings.cpus,
                pid_max: settings.pid_max,
                context_switches: variants.context_switches,
                block_io: variants.block_io,
                lifecycle: variants.lifecycle,
            },
            targets: targets.collect(),
            over: snapshot.ended.iter().map(OverFields::new).collect(),
            losses: LossFields {
                no_free_slot: snapshot.drops.no_free_slot,
                tgid_out_of_range: snapshot.drops.tgid_out_of_range,
                events: snapshot.drops.events,
            },
        }
    }
}

impl Display for Dump {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { agent, settings, targets, over, losses } = self;
        let how = if agent.running { "running" } else { "loaded for this dump" };
        writeln!(out, "agent     {} ({how})", agent.pid)?;
        writeln!(
            out,
            "settings  capacity {}, cpus {}, pid_max {}",
            settings.capacity, settings.cpus, settings.pid_max
        )?;
        writeln!(
            out,
            "          context switches by {}, block I/O by {}, lifecycle by {}, layout {}",
            settings.context_switches, settings.block_io, settings.lifecycle, settings.layout
        )?;
        writeln!(
            out,
            "losses    no free slot {}, process id out of range {}, events {}",
            losses.no_free_slot, losses.tgid_out_of_range, losses.events
        )?;
        writeln!(out, "targets   {} of {} slots", targets.len(), settings.capacity)?;
        for OverFields { tgid, slot, state, status, .. } in over {
            writeln!(out, "over      {tgid} in slot {slot} {state}, status {status:#x}; not yet taken")?;
        }
        if targets.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        writeln!(
            out,
            "{:>10} {:>5} {:>6} {:>14} {:>14} {:>18} {:>18} {:>12} {:>12}",
            "TGID",
            "SLOT",
            "CPU",
            "VOLUNTARY",
            "INVOLUNTARY",
            "READ BYTES",
            "WRITE BYTES",
            "READ OPS",
            "WRITE OPS"
        )?;
        for target in targets {
            let (tgid, slot) = (target.tgid, target.slot);
            for CpuFields { cpu, counts } in &target.cpus {
                row(out, tgid, slot, cpu, counts)?;
            }
            row(out, tgid, slot, &"sum", &target.sum)?;
            row(out, tgid, slot, &"offset", &target.offset)?;
            row(out, tgid, slot, &"totals", &target.totals)?;
            if target.noted_tgid != u64::from(tgid) {
                writeln!(out, "{tgid:>10} {slot:>5} noted for process {}", target.noted_tgid)?;
            }
        }
        Ok(())
    }
}

fn row<T: Display>(
    out: &mut Formatter<'_>,
    tgid: u32,
    slot: u32,
    label: &dyn Display,
    counts: &CountFields<T>,
) -> fmt::Result {
    // A label has no width of its own when it is shown through a trait object.
    let label = label.to_string();
    writeln!(
        out,
        "{tgid:>10} {slot:>5} {label:>6} {:>14} {:>14} {:>18} {:>18} {:>12} {:>12}",
        counts.voluntary_ctx_switches,
        counts.nonvoluntary_ctx_switches,
        counts.block_read_bytes,
        counts.block_write_bytes,
        counts.block_read_operations,
        counts.block_write_operations
    )
}

#[cfg(test)]
mod tests {
    use m8refsvr_common::{
        record::{DropsRecord, ExitRecord, ProcessRecord, SettingsRecord},
        signal::PerSource,
        slot::{Slot, Tgid},
    };

    use super::*;
    use crate::bpf::TrackedSlot;

    fn dump() -> Dump {
        let settings = SettingsRecord {
            layout: 1,
            capacity: 4096,
            cpus: 2,
            pid_max: 32768,
            variants: PerSource { context_switches: 1, block_io: 9, lifecycle: 1 },
        };
        let baseline = Counts { voluntary: 0_u64.wrapping_sub(2), ..Counts::default() };
        let tracked = vec![TrackedSlot {
            tgid: Tgid(4711),
            slot: Slot::new(3).unwrap(),
            process: ProcessRecord { tgid: 4712, start_ticks: 5, baseline, ..ProcessRecord::default() },
            cpus: vec![Counts::default(), Counts { voluntary: 7, write_bytes: 512, ..Counts::default() }],
        }];
        let drops = DropsRecord { no_free_slot: 1, ..DropsRecord::default() };
        let ended = EndedSlot {
            slot: Slot::new(5).unwrap(),
            process: ProcessRecord {
                tgid: 4713,
                state: ProcessState::Exited as u64,
                ..ProcessRecord::default()
            },
            exit: ExitRecord {
                status: 0x8b,
                accounting_at_end: Accounting { runtime: 7, ..Accounting::default() },
                ..ExitRecord::default()
            },
        };
        Dump::new(&Snapshot { settings, tracked, ended: vec![ended], drops }, 42, true)
    }

    #[test]
    fn the_table_shows_each_cpu_the_sum_and_the_totals() {
        let text = dump().to_string();
        let row = |label: &str| {
            let line = text.lines().find(|line| line.split_whitespace().nth(2) == Some(label)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("1")[..4], ["4711", "3", "1", "7"]);
        assert_eq!(row("sum")[3], "7");
        assert_eq!(row("offset")[3], "-2");
        assert_eq!(row("totals")[3..7], ["5", "0", "0", "512"]);
        assert!(text.contains("noted for process 4712"), "{text}");
        assert!(text.contains("block I/O by unknown"), "{text}");
        assert!(text.contains("no free slot 1"), "{text}");
        assert!(text.contains("4713 in slot 5 ended, status 0x8b"), "{text}");
    }

    #[test]
    fn the_json_has_the_same_figures() {
        let json = serde_json::to_value(dump()).unwrap();
        assert_eq!(json["targets"][0]["totals"]["voluntary_ctx_switches"], 5);
        assert_eq!(json["targets"][0]["offset"]["voluntary_ctx_switches"], -2);
        assert_eq!(json["targets"][0]["cpus"][0]["cpu"], 1);
        assert_eq!(json["over"][0]["figures"]["cpu_time"], 7);
        assert_eq!(json["agent"]["running"], true);
    }
}
