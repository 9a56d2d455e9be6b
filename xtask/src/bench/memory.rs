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
/// Collections after which a process counts as idle for long.
const IDLE: usize = 12;
const MATCHING: u32 = 1000;
/// The default of processes with series of their own.
const SERIES: u32 = 200;
/// Fewer processes for the many collections that show whether memory grows.
const MATCHING_LONG: usize = 100;

pub(super) fn memory() -> Result<Table> {
    let agent = build::agent()?;
    let program = cargo_bench::build("look")?;
    let mut one = Vec::new();
    let mut many = Vec::new();
    let mut kept = Vec::new();
    let mut kept_idle = Vec::new();
    let mut series = Vec::new();
    let mut of_sums = Vec::new();
    let mut of_some = Vec::new();
    let mut exports = Vec::new();
    let mut sizes = Vec::new();
    let mut before = Vec::new();
    let mut after = Vec::new();
    for round in 1..=ROUNDS {
        report::step(&format!("measuring, round {round} of {ROUNDS}"));
        {
            let _load = Load::start(1, 0, SMALL)?;
            one.push(warmed_up(&agent, &[])?.memory()?);
        }
        {
            let _load = Load::start(MATCHING as usize, 0, SMALL)?;
            let before_agent = slab()?;
            let running = warmed_up(&agent, &[])?;
            many.push(running.memory()?);
            let of_each =
                || Ok::<f64, anyhow::Error>((slab()? - before_agent) / 1024.0 / f64::from(MATCHING));
            kept.push(of_each()?);
            running.exports(IDLE)?;
            kept_idle.push(of_each()?);
            of_sums.push(milliseconds(running.cost_of_exports()?.0));
            drop(running);
            let running =
                warmed_up(&agent, &["--per-process", "--max-series-processes", &SERIES.to_string()])?;
            of_some.push(milliseconds(running.cost_of_exports()?.0));
            drop(running);
            let listed = MATCHING.to_string();
            let running = warmed_up(&agent, &["--per-process", "--max-series-processes", &listed])?;
            series.push(running.memory()?);
            let (time, bytes) = running.cost_of_exports()?;
            exports.push(milliseconds(time));
            sizes.push(bytes);
        }
        let _load = Load::start(MATCHING_LONG, 0, SMALL)?;
        let measured = cargo_bench::run(Command::new(program.get_program()).args([NAME, "growth"]))?;
        let value =
            |name: &str| measured[name].as_f64().with_context(|| format!("the bench has no result {name}"));
        before.push(mebibytes(value("before")?));
        after.push(mebibytes(value("after")?));
    }

    let mut table = Table::default();
    let resident = |of: &[Memory]| of.iter().map(|memory| bytes(memory.resident)).collect::<Vec<_>>();
    table.row("resident, 1 process", "MiB", &resident(&one));
    table.row(format!("resident, {MATCHING} processes"), "MiB", &resident(&many));
    for (what, part) in [
        ("  of it anonymous", (|memory: &Memory| memory.anonymous) as fn(&Memory) -> u64),
        ("  of it file-backed", |memory| memory.of_files),
        ("  proportional (Pss)", |memory| memory.proportional),
        ("  peak since the start", |memory| memory.peak),
    ] {
        let values: Vec<f64> = many.iter().map(|memory| bytes(part(memory))).collect();
        table.row(what, "MiB", &values);
    }
    table.row("kernel memory of files kept open, per process", "KiB", &kept);
    table.row("  per process that is idle for long", "KiB", &kept_idle);
    table.row(format!("resident, series for each of {MATCHING} processes"), "MiB", &resident(&series));
    table.row("  one export of them", "ms CPU", &exports);
    table.row(format!("  one export with series for {SERIES} of them"), "ms CPU", &of_some);
    table.row("  one export with default settings", "ms CPU", &of_sums);
    table.row("  size of one export of them, compressed", "KiB", &sizes);
    table.row(
        format!("resident, {MATCHING_LONG} processes in the bench, after 100 collections"),
        "MiB",
        &before,
    );
    table.row("  after 10000 more", "MiB", &after);
    table.ratio(format!("resident, {MATCHING} processes / 1"), &resident(&many), &resident(&one));
    table.ratio("resident, with series for each / without", &resident(&series), &resident(&many));
    let peaks: Vec<f64> = many.iter().map(|memory| bytes(memory.peak)).collect();
    table.ratio("peak / resident", &peaks, &resident(&many));
    table.ratio("resident, after 10000 collections / before", &after, &before);
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
