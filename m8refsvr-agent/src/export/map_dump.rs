//! The content of the maps, as JSON for programs and as tables for people.

use std::fmt::{self, Display, Formatter};

use m8refsvr_common::{
    accounting::Accounting,
    comm,
    record::{Counts, ProcessRecord, ProcessState},
    signal::Variant,
};
use serde::Serialize;

use crate::{
    bpf::{EndedSlot, Snapshot},
    logging::escape::in_line,
    model::source::Source,
};

/// The maps of an agent, to be shown.
#[derive(Clone, Debug, Serialize)]
pub struct Dump {
    agent: AgentFields,
    settings: SettingFields,
    tracked_processes: Vec<ProcessFields>,
    /// Processes that exited or no longer match, and whose final values the agent has not collected yet.
    pending: Vec<PendingFields>,
    drops: DropFields,
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
    max_tracked_processes: u64,
    cpus: u64,
    pid_max: u64,
    context_switches: &'static str,
    block_io: &'static str,
    lifecycle: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct ProcessFields {
    pid: u32,
    name: String,
    slot: u32,
    /// As the slot's record has it; differs from `pid` only when something is wrong.
    recorded_pid: u64,
    start_ticks: u64,
    /// Counters of the slot, of each CPU that counted anything.
    cpus: Vec<CpuFields>,
    sum: CountFields<u64>,
    /// What the agent adds to the sum.
    baseline: CountFields<i64>,
    totals: CountFields<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct PendingFields {
    pid: u64,
    name: String,
    slot: u32,
    start_ticks: u64,
    /// `exited`, or `deselected` by the name of another program.
    state: &'static str,
    /// As `wait` has it.
    status: u64,
    /// The final values of the kernel's accounting.
    accounting: AccountingFields,
}

#[derive(Clone, Debug, Serialize)]
struct AccountingFields {
    /// Nanoseconds.
    cpu_time: u64,
    minor_page_faults: u64,
    major_page_faults: u64,
    disk_read_bytes: u64,
    disk_write_bytes: u64,
    voluntary_ctx_switches: u64,
    nonvoluntary_ctx_switches: u64,
}

impl PendingFields {
    fn new(ended: &EndedSlot) -> Self {
        let at_end = ended.exit.accounting_at_end;
        let Accounting { runtime, minor_faults, major_faults, read_bytes, write_bytes, .. } = at_end;
        Self {
            pid: ended.process.tgid,
            name: name(&ended.process),
            slot: ended.slot.number(),
            start_ticks: ended.process.start_ticks,
            state: if ended.process.state == ProcessState::Deselected as u64 {
                "deselected"
            } else {
                "exited"
            },
            status: ended.exit.status,
            accounting: AccountingFields {
                cpu_time: runtime,
                minor_page_faults: minor_faults,
                major_page_faults: major_faults,
                disk_read_bytes: read_bytes,
                disk_write_bytes: write_bytes,
                voluntary_ctx_switches: at_end.voluntary,
                nonvoluntary_ctx_switches: at_end.involuntary,
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
struct DropFields {
    no_free_slot: u64,
    pid_out_of_range: u64,
    events: u64,
}

impl Dump {
    /// Of the maps of the agent `pid`. `name_of` gives the names of living processes.
    pub fn new(
        snapshot: &Snapshot,
        pid: u32,
        running: bool,
        name_of: impl Fn(u32) -> Option<String>,
    ) -> Self {
        let settings = &snapshot.settings;
        let variants = settings.variants.map(|number| match Variant::from_number(number) {
            Some(Variant::RawTracepoint) => Source::RawTracepoint.name(),
            Some(Variant::Tracepoint) => Source::Tracepoint.name(),
            Some(Variant::None) => Source::None.name(),
            None => "unknown",
        });
        let tracked_processes = snapshot.tracked.iter().map(|slot| ProcessFields {
            pid: slot.tgid.0,
            name: name_of(slot.tgid.0).unwrap_or_else(|| name(&slot.process)),
            slot: slot.slot.number(),
            recorded_pid: slot.process.tgid,
            start_ticks: slot.process.start_ticks,
            cpus: slot
                .cpus
                .iter()
                .enumerate()
                .filter(|(_, counts)| **counts != Counts::default())
                .map(|(cpu, counts)| CpuFields { cpu, counts: CountFields::new(counts, |word| word) })
                .collect(),
            sum: CountFields::new(&slot.sum(), |word| word),
            baseline: CountFields::new(&slot.process.baseline, u64::cast_signed),
            totals: CountFields::new(&slot.totals(), |word| word),
        });
        Self {
            agent: AgentFields { pid, running },
            settings: SettingFields {
                layout: settings.layout,
                max_tracked_processes: settings.capacity,
                cpus: settings.cpus,
                pid_max: settings.pid_max,
                context_switches: variants.context_switches,
                block_io: variants.block_io,
                lifecycle: variants.lifecycle,
            },
            tracked_processes: tracked_processes.collect(),
            pending: snapshot.ended.iter().map(PendingFields::new).collect(),
            drops: DropFields {
                no_free_slot: snapshot.drops.no_free_slot,
                pid_out_of_range: snapshot.drops.tgid_out_of_range,
                events: snapshot.drops.events,
            },
        }
    }
}

/// The name that BPF programs noted as the process got its slot, up to 15 bytes; "?" where the agent gave it the slot.
fn name(record: &ProcessRecord) -> String {
    let (bytes, length) = comm::bytes(record.comm);
    if length == 0 { "?".to_owned() } else { String::from_utf8_lossy(&bytes[..length]).into_owned() }
}

impl Display for Dump {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { agent, settings, tracked_processes, pending, drops } = self;
        let how = if agent.running { "running" } else { "loaded for this dump" };
        let most = settings.max_tracked_processes;
        writeln!(out, "agent              {} ({how})", agent.pid)?;
        writeln!(
            out,
            "settings           at most {most} tracked processes, {} CPUs, pid_max {}, layout {}",
            settings.cpus, settings.pid_max, settings.layout
        )?;
        writeln!(
            out,
            "sources            context switches {}, block I/O {}, lifecycle {}",
            settings.context_switches, settings.block_io, settings.lifecycle
        )?;
        writeln!(
            out,
            "drops              no free slot {}, process id out of range {}, events {}",
            drops.no_free_slot, drops.pid_out_of_range, drops.events
        )?;
        writeln!(out, "tracked processes  {} of at most {most}", tracked_processes.len())?;
        for PendingFields { pid, name, slot, state, status, .. } in pending {
            let name = in_line(name);
            writeln!(
                out,
                "pending            {name} (pid {pid}) {state}, status {status:#x}, slot {slot}; final values not collected yet"
            )?;
        }
        if tracked_processes.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        writeln!(
            out,
            "{:>10} {:15} {:>5} {:>6} {:>14} {:>14} {:>18} {:>18} {:>12} {:>12}",
            "PID",
            "NAME",
            "SLOT",
            "CPU",
            "VOLUNTARY",
            "INVOLUNTARY",
            "READ BYTES",
            "WRITE BYTES",
            "READ OPS",
            "WRITE OPS"
        )?;
        for process in tracked_processes {
            for CpuFields { cpu, counts } in &process.cpus {
                row(out, process, cpu, counts)?;
            }
            row(out, process, &"sum", &process.sum)?;
            row(out, process, &"baseline", &process.baseline)?;
            row(out, process, &"totals", &process.totals)?;
            if process.recorded_pid != u64::from(process.pid) {
                let ProcessFields { pid, slot, recorded_pid, .. } = process;
                writeln!(out, "{pid:>10} slot {slot} has the record of pid {recorded_pid}")?;
            }
        }
        Ok(())
    }
}

fn row<T: Display>(
    out: &mut Formatter<'_>,
    process: &ProcessFields,
    label: &dyn Display,
    counts: &CountFields<T>,
) -> fmt::Result {
    let ProcessFields { pid, name, slot, .. } = process;
    // A label has no width of its own when it is shown through a trait object.
    let (name, label) = (in_line(name), label.to_string());
    writeln!(
        out,
        "{pid:>10} {name:15} {slot:>5} {label:>6} {:>14} {:>14} {:>18} {:>18} {:>12} {:>12}",
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
                comm: [u64::from_le_bytes(*b"M8RefSvr"), 0],
                state: ProcessState::Exited as u64,
                ..ProcessRecord::default()
            },
            exit: ExitRecord {
                status: 0x8b,
                accounting_at_end: Accounting { runtime: 7, ..Accounting::default() },
                ..ExitRecord::default()
            },
        };
        Dump::new(&Snapshot { settings, tracked, ended: vec![ended], drops }, 42, true, |pid| {
            (pid == 4711).then(|| "M8Ref\nX".to_owned())
        })
    }

    #[test]
    fn the_table_shows_each_cpu_the_sum_and_the_totals() {
        let text = dump().to_string();
        let row = |label: &str| {
            let line = text.lines().find(|line| line.split_whitespace().nth(3) == Some(label)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("1")[..5], ["4711", r"M8Ref\nX", "3", "1", "7"]);
        assert_eq!(row("sum")[4], "7");
        assert_eq!(row("baseline")[4], "-2");
        assert_eq!(row("totals")[4..8], ["5", "0", "0", "512"]);
        assert!(text.contains("slot 3 has the record of pid 4712"), "{text}");
        assert!(text.contains("block I/O unknown"), "{text}");
        assert!(text.contains("no free slot 1"), "{text}");
        assert!(text.contains("M8RefSvr (pid 4713) exited, status 0x8b, slot 5"), "{text}");
    }

    #[test]
    fn the_json_has_the_same_values() {
        let json = serde_json::to_value(dump()).unwrap();
        assert_eq!(json["tracked_processes"][0]["totals"]["voluntary_ctx_switches"], 5);
        assert_eq!(json["tracked_processes"][0]["baseline"]["voluntary_ctx_switches"], -2);
        assert_eq!(json["tracked_processes"][0]["cpus"][0]["cpu"], 1);
        assert_eq!(json["pending"][0]["accounting"]["cpu_time"], 7);
        assert_eq!(json["agent"]["running"], true);
    }
}
