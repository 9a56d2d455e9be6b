//! `cargo xtask bench hooks`: cost of a context switch with our BPF programs attached, with an empty program, with a
//! design of hash maps, and with other tools.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::{
    cargo_bench, peers,
    table::{Table, quantile},
};
use crate::{build, report};

/// The script of bpftrace: context switches by process.
const SCRIPT: &str = "tracepoint:sched:sched_switch { @[pid] = count(); }";

pub(super) fn hooks() -> Result<Table> {
    let mut table = Table::default();
    let mut program = cargo_bench::build("hooks")?;
    let reference = build::reference_object()?;
    let mut neighbours = Map::new();
    let mut add =
        |package: &str, words: &dyn Fn(&Path) -> Vec<(&'static str, Value)>| match peers::package(package) {
            Ok(root) => words(&root).into_iter().for_each(|(name, words)| {
                neighbours.insert(name.to_owned(), words);
            }),
            Err(error) => table.note(format!("{package} could not be unpacked: {error:#}")),
        };
    add("bpftrace", &|root| {
        let program = root.join("usr/bin/bpftrace").display().to_string();
        // bpftrace needs tracefs and debugfs at these paths; they may not be mounted.
        let script = "mount -t tracefs tracefs /sys/kernel/tracing && mount -t debugfs debugfs /sys/kernel/debug && \
                      exec \"$0\" -e \"$1\"";
        vec![(
            "bpftrace by process",
            bound(root, &["unshare", "--mount", "sh", "-c", script, &program, SCRIPT]),
        )]
    });
    add("libbpf-tools", &|root| {
        let tool = |name: &str| bound(root, &[&root.join("usr/sbin").join(name).display().to_string()]);
        vec![("libbpf-tools' cpudist", tool("cpudist")), ("libbpf-tools' runqlat", tool("runqlat"))]
    });
    report::step("measuring");
    program.env("M8REFSVR_REFERENCE_OBJECT", reference);
    let measured = cargo_bench::run(program.env("M8REFSVR_NEIGHBOURS", Value::from(neighbours).to_string()))?;
    for name in measured["failed"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        table.note(format!("{name} attached nothing"));
    }

    let events = over_first(&measured["events"])?;
    let passes = over_first(&measured["passes"])?;
    for (what, costs) in [("event", &events), ("switch", &passes)] {
        for (place, (name, values)) in costs.iter().enumerate() {
            let name = if place == 0 { name.clone() } else { format!("  over it: {name}") };
            let unit = if what == "event" { "ns an event" } else { "ns CPU a switch" };
            table.row(name, unit, values);
        }
    }
    let find = |costs: &[(String, Vec<f64>)], name: &str| -> Option<[f64; 1]> {
        costs.iter().find(|(known, _)| known == name).map(|(_, values)| [quantile(values, 0.5)])
    };
    for who in ["not a target", "a target"] {
        let hash = format!("hash of targets and per-CPU hash, {who}");
        if let (Some(ours), Some(hash)) = (find(&events, &format!("m8refsvr, {who}")), find(&events, &hash)) {
            table.ratio(format!("ours / hash, {who}"), &ours, &hash);
        }
    }
    let ours = find(&passes, "m8refsvr, a target").context("the bench has no result of our program")?;
    for (name, values) in passes.iter().skip(3) {
        table.ratio(format!("ours, a target / {name}"), &ours, &[quantile(values, 0.5)]);
    }
    Ok(table)
}

/// A command as JSON, with the libraries of its package. It exits when its parent does.
fn bound(root: &Path, words: &[&str]) -> Value {
    let libraries = peers::libraries(root);
    let before = ["setpriv", "--pdeathsig", "INT", "--", "env", &libraries];
    json!(before.iter().chain(words).collect::<Vec<_>>())
}

/// The first list of values, and the difference of each other list from it. Differences are taken round by round, as
/// the speed of the machine drifts.
fn over_first(measured: &Value) -> Result<Vec<(String, Vec<f64>)>> {
    let numbers = |values: &Value| -> Vec<f64> {
        values.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    let all = measured.as_object().context("the bench has no results")?;
    let first = all.values().next().map(numbers).context("the bench has no results")?;
    let over = |values: &Value| numbers(values).iter().zip(&first).map(|(one, first)| one - first).collect();
    Ok(all
        .iter()
        .enumerate()
        .map(|(place, (name, values))| (name.clone(), if place == 0 { first.clone() } else { over(values) }))
        .collect())
}
