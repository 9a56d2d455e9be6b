//! `cargo xtask bench memory`: resident memory of the agent, and CPU time of an export with many series.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    agent, cargo_bench,
    load::{Load, NAME, SMALL},
    process::{Measured, Memory},
    receiver::Receiver,
    table::Table,
};
use crate::{build, report};

const ROUNDS: usize = 3;
/// Exports before the first measurement.
const WARM_UP: usize = 3;
/// Measured exports.
const EXPORTS: usize = 5;
/// More collections than those after which a process is idle for long (`LONG_IDLE` in `tracker/idle.rs`).
const IDLE: usize = 12;
const MATCHING: u32 = 1000;
/// The default of processes with series of their own.
const SERIES: u32 = 200;
/// Fewer processes for the many collections that show whether memory grows.
const MATCHING_LONG: usize = 100;
/// Collections before and after the first measurement of these: `growth` of the bench `collection` makes so many.
const COLLECTIONS: [usize; 2] = [100, 10_000];

/// What is measured in each round.
struct Round {
    /// Memory of the agent with one process, and with [`MATCHING`] processes.
    one: Memory,
    many: Memory,
    /// Kernel memory for each process, in KiB: of processes that have just run, and of idle ones.
    kernel: f64,
    kernel_idle: f64,
    /// Memory of the agent with series for each of [`MATCHING`] processes.
    series: Memory,
    /// Milliseconds of CPU time of one export: with default settings, with series for [`SERIES`] processes, and for
    /// all.
    export_default: f64,
    export_some: f64,
    export_all: f64,
    /// Size of an export with series for all, in KiB.
    export_size: f64,
    /// Memory of the bench in MiB, before and after many collections.
    before: f64,
    after: f64,
}

impl Round {
    fn measure(agent: &Path, bench: &Command) -> Result<Self> {
        let one = {
            let _load = Load::start(1, 0, SMALL)?;
            warmed_up(agent, &[])?.memory()?
        };
        let load = Load::start(MATCHING as usize, 0, SMALL)?;
        let without_agent = slab()?;
        let running = warmed_up(agent, &[])?;
        let many = running.memory()?;
        let kernel_memory =
            || Ok::<f64, anyhow::Error>((slab()? - without_agent) / 1024.0 / f64::from(MATCHING));
        let kernel = kernel_memory()?;
        running.exports(IDLE)?;
        let kernel_idle = kernel_memory()?;
        let (export_default, _) = running.cost_of_exports()?;
        drop(running);
        let with_series =
            |count: u32| warmed_up(agent, &["--per-process", "--max-series-processes", &count.to_string()]);
        let (export_some, _) = with_series(SERIES)?.cost_of_exports()?;
        let running = with_series(MATCHING)?;
        let series = running.memory()?;
        let (export_all, export_size) = running.cost_of_exports()?;
        drop(running);
        drop(load);
        let _load = Load::start(MATCHING_LONG, 0, SMALL)?;
        let measured = cargo_bench::run(Command::new(bench.get_program()).args([NAME, "growth"]))?;
        let value =
            |name: &str| measured[name].as_f64().with_context(|| format!("the bench has no result {name}"));
        Ok(Self {
            one,
            many,
            kernel,
            kernel_idle,
            series,
            export_default: milliseconds(export_default),
            export_some: milliseconds(export_some),
            export_all: milliseconds(export_all),
            export_size,
            before: mebibytes(value("before")?),
            after: mebibytes(value("after")?),
        })
    }
}

pub(super) fn memory() -> Result<Table> {
    let agent = build::agent()?;
    let bench = cargo_bench::build("collection")?;
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        report::step(&format!("measuring, round {number} of {ROUNDS}"));
        rounds.push(Round::measure(&agent, &bench)?);
    }
    let values = |value: fn(&Round) -> f64| -> Vec<f64> { rounds.iter().map(value).collect() };
    let one = values(|round| bytes(round.one.resident));
    let many = values(|round| bytes(round.many.resident));
    let peak = values(|round| bytes(round.many.peak));
    let series = values(|round| bytes(round.series.resident));
    let (before, after) = (values(|round| round.before), values(|round| round.after));

    let mut table = Table::default();
    table.row("resident, 1 process", "MiB", &one);
    table.row(format!("resident, {MATCHING} processes"), "MiB", &many);
    table.row("  of it anonymous", "MiB", &values(|round| bytes(round.many.anonymous)));
    table.row("  of it file-backed", "MiB", &values(|round| bytes(round.many.of_files)));
    table.row("  proportional (Pss)", "MiB", &values(|round| bytes(round.many.proportional)));
    table.row("  peak since the start", "MiB", &peak);
    table.row("kernel memory of files kept open, per process", "KiB", &values(|round| round.kernel));
    table.row("  per process that is idle for long", "KiB", &values(|round| round.kernel_idle));
    table.row(format!("resident, series for each of {MATCHING} processes"), "MiB", &series);
    table.row("  one export of them", "ms CPU", &values(|round| round.export_all));
    table.row(
        format!("  one export with series for {SERIES} of them"),
        "ms CPU",
        &values(|round| round.export_some),
    );
    table.row("  one export with default settings", "ms CPU", &values(|round| round.export_default));
    table.row("  size of one export of them, compressed", "KiB", &values(|round| round.export_size));
    table.row(
        format!("resident, {MATCHING_LONG} processes in the bench, after {} collections", COLLECTIONS[0]),
        "MiB",
        &before,
    );
    table.row(format!("  after {} more", COLLECTIONS[1]), "MiB", &after);
    table.ratio(format!("resident, {MATCHING} processes / 1"), &many, &one);
    table.ratio("resident, with series for each / without", &series, &many);
    table.ratio("peak / resident", &peak, &many);
    table.ratio(format!("resident, after {} collections / before", COLLECTIONS[1]), &after, &before);
    Ok(table)
}

/// A running agent and its receiver.
struct Exporting {
    agent: Measured,
    receiver: Receiver,
}

/// Starts an agent that exports each second, and waits for some exports.
fn warmed_up(program: &Path, arguments: &[&str]) -> Result<Exporting> {
    let receiver = Receiver::start()?;
    let mut command = agent::exporting(program, &receiver.endpoint(), &["--interval", "1"]);
    let agent = Measured::start(command.args(arguments), "agent.log")?;
    let running = Exporting { agent, receiver };
    running.exports(WARM_UP)?;
    Ok(running)
}

impl Exporting {
    /// Waits for this number of exports.
    fn exports(&self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| self.receiver.next().map(|_| ()))
    }

    fn memory(&self) -> Result<Memory> {
        self.agent.memory()
    }

    /// CPU time of one export, and its size in KiB. Only exports run in threads other than the first. A large export is
    /// several requests.
    fn cost_of_exports(&self) -> Result<(Duration, f64)> {
        self.receiver.take();
        let before = self.agent.cpu_of_others()?;
        std::thread::sleep(Duration::from_secs(EXPORTS as u64));
        let time = self.agent.cpu_of_others()? - before;
        let arrived = self.receiver.take();
        ensure!(!arrived.is_empty(), "the agent did not export");
        let size: u64 = arrived.iter().map(|request| request.bytes).sum();
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 bytes")]
        let size = size as f64 / 1024.0 / EXPORTS as f64;
        Ok((time / u32::try_from(EXPORTS)?, size))
    }
}

/// Unreclaimable slab memory of the kernel in bytes, of which open files are a part.
fn slab() -> Result<f64> {
    let info = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let kibibytes = info.lines().find_map(|line| line.strip_prefix("SUnreclaim:")?.split_whitespace().next());
    let kibibytes: f64 = kibibytes.context("no SUnreclaim in /proc/meminfo")?.parse()?;
    Ok(1024.0 * kibibytes)
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 bytes")]
fn bytes(bytes: u64) -> f64 {
    mebibytes(bytes as f64)
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
