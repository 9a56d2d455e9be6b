//! `cargo xtask bench start`: time from the start to the first export, and context switches of an idle agent.

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
/// Between two collections.
const IDLE: Duration = Duration::from_secs(60);
/// After the first export, for work that the agent does only once.
const WARM_UP: Duration = Duration::from_secs(5);

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
    let (switches, started) = idle(&agent)?;

    let mut table = Table::default();
    table.row("from start to the first export has arrived", "ms", &exported);
    table.row("  without BPF", "ms", &exported_without);
    table.row(format!("--once --no-export --sample {SAMPLE}"), "ms", &once);
    table.row("  without BPF", "ms", &once_without);
    table.row(format!("context switches in {} s between two collections", IDLE.as_secs()), "", &[switches]);
    table.row("  processes and threads that started meanwhile", "", &[started]);
    table.ratio("first export, with BPF / without", &exported, &exported_without);
    table.ratio("--once, with BPF / without", &once, &once_without);
    Ok(table)
}

/// Milliseconds from the start of an agent until its first export has arrived.
fn first_export(program: &Path, ebpf: &str) -> Result<f64> {
    let receiver = Receiver::start()?;
    let command = agent::exporting(program, &receiver.endpoint(), &["--interval", "3600", "--ebpf", ebpf]);
    let began = Instant::now();
    let _agent = Measured::start(&command, "agent.log")?;
    let arrived = receiver.next()?;
    Ok(1e3 * (arrived.at - began).as_secs_f64())
}

/// Milliseconds of one run with `--once`.
fn one_document(program: &Path, ebpf: &str) -> Result<f64> {
    let mut command = agent::command(program, &["--once", "--no-export", "--sample", SAMPLE, "--ebpf", ebpf]);
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().context("cannot start the agent")?;
    let time = began.elapsed();
    ensure!(status.success(), "the agent failed: {status}");
    Ok(1e3 * time.as_secs_f64())
}

/// Context switches of an idle agent, and the number of processes and threads that started meanwhile: the BPF programs
/// wake the agent for those of which only it can find out whether they match.
fn idle(program: &Path) -> Result<(f64, f64)> {
    let receiver = Receiver::start()?;
    let command: Command = agent::exporting(program, &receiver.endpoint(), &["--interval", "3600"]);
    let agent = Measured::start(&command, "agent.log")?;
    receiver.next()?;
    thread::sleep(WARM_UP);
    let (switches, started) = (agent.switches()?, started()?);
    thread::sleep(IDLE);
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
    let passed = |after: u64, before: u64| (after - before) as f64;
    Ok((passed(agent.switches()?, switches), passed(self::started()?, started)))
}

/// The number of processes and threads that have started since boot.
fn started() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let count = stat.lines().find_map(|line| line.strip_prefix("processes ")?.parse().ok());
    count.context("no number of processes in /proc/stat")
}
