//! `cargo xtask bench start`: how long the agent takes from its start, and how often it runs when there is nothing to do.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    agent,
    load::{Load, SMALL},
    process::Measured,
    receiver::Receiver,
    table::Table,
};
use crate::{build, report};

const ROUNDS: usize = 15;
const SAMPLE: &str = "0.1";
/// Between two looks.
const IDLE: Duration = Duration::from_secs(60);
/// After the first export, for what is only put away then.
const SETTLES: Duration = Duration::from_secs(5);

pub(super) fn start() -> Result<Table> {
    let agent = build::agent()?;
    let _load = Load::start(1, 0, SMALL)?;
    report::step("measuring");
    let (mut exported, mut exported_without) = (Vec::new(), Vec::new());
    let (mut once, mut once_without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        exported.push(first_export(&agent, "require")?);
        exported_without.push(first_export(&agent, "off")?);
        once.push(one_document(&agent, "require")?);
        once_without.push(one_document(&agent, "off")?);
    }
    let (wake_ups, started) = idle(&agent)?;

    let mut table = Table::default();
    table.row("from start to the first export has arrived", "ms", &exported);
    table.row("  without programs in the kernel", "ms", &exported_without);
    table.row(format!("--once --no-export --sample {SAMPLE}"), "ms", &once);
    table.row("  without programs in the kernel", "ms", &once_without);
    table.row(format!("the agent ran, in {} s between two looks", IDLE.as_secs()), "times", &[wake_ups]);
    table.row("  processes and threads that the machine started then", "", &[started]);
    table.ratio("first export, with programs in the kernel / without", &exported, &exported_without);
    table.ratio("--once, with programs in the kernel / without", &once, &once_without);
    Ok(table)
}

/// Milliseconds until an export has arrived, of an agent that is started.
fn first_export(program: &Path, ebpf: &str) -> Result<f64> {
    let receiver = Receiver::start()?;
    let command = agent::exporting(program, &receiver.endpoint(), &["--interval", "3600", "--ebpf", ebpf]);
    let began = Instant::now();
    let _agent = Measured::start(&command, "agent.log")?;
    let arrived = receiver.next()?;
    Ok(1e3 * (arrived.at - began).as_secs_f64())
}

/// Milliseconds that one document takes.
fn one_document(program: &Path, ebpf: &str) -> Result<f64> {
    let mut command = agent::command(program, &["--once", "--no-export", "--sample", SAMPLE, "--ebpf", ebpf]);
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().context("cannot start the agent")?;
    let time = began.elapsed();
    ensure!(status.success(), "the agent ended with {status}");
    Ok(1e3 * time.as_secs_f64())
}

/// How often an agent ran that had nothing to do, and what the machine started meanwhile: the kernel's programs tell the
/// agent of those of which only it can tell whether they match.
fn idle(program: &Path) -> Result<(f64, f64)> {
    let receiver = Receiver::start()?;
    let command: Command = agent::exporting(program, &receiver.endpoint(), &["--interval", "3600"]);
    let agent = Measured::start(&command, "agent.log")?;
    receiver.next()?;
    thread::sleep(SETTLES);
    let (switches, started) = (agent.switches()?, started()?);
    thread::sleep(IDLE);
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
    let passed = |after: u64, before: u64| (after - before) as f64;
    Ok((passed(agent.switches()?, switches), passed(self::started()?, started)))
}

/// Processes and threads that were started since boot.
fn started() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let count = stat.lines().find_map(|line| line.strip_prefix("processes ")?.parse().ok());
    count.context("/proc/stat does not tell of processes")
}
