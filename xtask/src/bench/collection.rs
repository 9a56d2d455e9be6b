//! `cargo xtask bench collection`: CPU time of a collection, compared with reading the same files, by the number of
//! tracked processes and of others.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    cargo_bench,
    load::{Kind, LARGE, Load, NAME, SMALL},
    table::Table,
};
use crate::{build, report};

/// The names of the results in the JSON of the bench `collection` of `m8refsvr-agent`.
const COLLECTION: &str = "collection";
const KEPT: &str = "kept";
const OPENED: &str = "opened";
const ITERATED: &str = "iterated";
const AFTER_RUN: &str = "after_waking";
const KEPT_AFTER_RUN: &str = "kept_of_woken";
const AFTER_IDLE: &str = "after_long_idle";
/// The label for reading the files of the tracked processes.
const BARE: &str = "those that match: stat, statm, io, fd kept open";

/// How often each load is measured, in turn with the others.
const ROUNDS: usize = 3;

/// The processes of a measurement. Those with thousands of processes have one thread each, as thread ids are limited.
struct Scenario {
    matching: usize,
    all: usize,
    kind: Kind,
    measured: BTreeMap<String, Vec<f64>>,
    seen: usize,
}

impl Scenario {
    fn new(matching: usize, all: usize, kind: Kind) -> Self {
        Self { matching, all, kind, measured: BTreeMap::new(), seen: 0 }
    }

    fn measure(&mut self, program: &Command, reference: &Path) -> Result<()> {
        let _load = Load::start(self.matching, self.all, self.kind)?;
        let measured =
            cargo_bench::run(Command::new(program.get_program()).args([NAME, "costs"]).arg(reference))?;
        for name in [COLLECTION, KEPT, OPENED, ITERATED, AFTER_RUN, KEPT_AFTER_RUN, AFTER_IDLE] {
            let values = measured[name].as_array().with_context(|| format!("no {name} was measured"))?;
            let microseconds = values.iter().filter_map(Value::as_f64).map(|nanoseconds| nanoseconds / 1e3);
            self.measured.entry(name.to_owned()).or_default().extend(microseconds);
        }
        self.seen = measured["processes"].as_u64().and_then(|seen| usize::try_from(seen).ok()).unwrap_or(0);
        Ok(())
    }

    /// The measurements with this name, in microseconds.
    fn times(&self, name: &str) -> &[f64] {
        self.measured.get(name).map_or(&[], Vec::as_slice)
    }

    fn name(&self) -> String {
        format!("{} of {} processes match", self.matching, self.seen)
    }

    fn per(&self, count: usize, name: &str) -> Vec<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand processes")]
        let count = count as f64;
        self.times(name).iter().map(|time| time / count).collect()
    }
}

pub(super) fn collection() -> Result<Table> {
    let program = cargo_bench::build("collection")?;
    let reference = build::reference_object()?;
    let mut typical = [Scenario::new(1000, 1470, SMALL), Scenario::new(1000, 1470, LARGE)];
    let mut alone = [Scenario::new(1, 0, SMALL), Scenario::new(1, 1470, SMALL)];
    let mut growing = [100, 1000, 4000].map(|matching| Scenario::new(matching, 0, SMALL));
    for round in 1..=ROUNDS {
        report::step(&format!("measuring, round {round} of {ROUNDS}"));
        for scenario in typical.iter_mut().chain(&mut alone).chain(&mut growing) {
            scenario.measure(&program, &reference)?;
        }
    }

    let mut table = Table::default();
    for scenario in &typical {
        let (name, kind) = (scenario.name(), scenario.kind);
        let mut row = |what: String, name| table.row(what, "µs CPU", scenario.times(name));
        row(format!("{name}, {kind}: a collection"), COLLECTION);
        row(format!("  {BARE}"), KEPT);
        row("  all of them: the same files opened each time".to_owned(), OPENED);
        row("  all tasks: 12 words by a BPF iterator".to_owned(), ITERATED);
        row("a collection after all their threads have run".to_owned(), AFTER_RUN);
        row(format!("  {BARE}"), KEPT_AFTER_RUN);
        row("a collection after long-idle threads have run".to_owned(), AFTER_IDLE);
        let mut ratio = |what, name, of| {
            table.ratio(format!("{what}, {kind}"), scenario.times(name), scenario.times(of));
        };
        ratio("collection / files opened each time", COLLECTION, OPENED);
        ratio("collection / files kept open", COLLECTION, KEPT);
        ratio("collection after all have run / files kept open", AFTER_RUN, KEPT_AFTER_RUN);
    }
    for scenario in &alone {
        table.row(format!("{}: a collection", scenario.name()), "µs CPU", scenario.times(COLLECTION));
        table.row("  all tasks: 12 words by a BPF iterator", "µs CPU", scenario.times(ITERATED));
    }
    table.ratio(
        "1 match among many / among few processes",
        alone[1].times(COLLECTION),
        alone[0].times(COLLECTION),
    );
    for scenario in &growing {
        let name = scenario.name();
        table.row(
            format!("{name}: a collection, per match"),
            "µs CPU",
            &scenario.per(scenario.matching, COLLECTION),
        );
        table.row(format!("  {BARE}, per match"), "µs CPU", &scenario.per(scenario.matching, KEPT));
        let opened = scenario.per(scenario.seen, OPENED);
        table.row("  all of them: the same files opened each time, per process", "µs CPU", &opened);
    }
    let [few, many, most] = growing.each_ref().map(|scenario| scenario.per(scenario.matching, COLLECTION));
    table.ratio("per match, 1000 / 100 matches", &many, &few);
    table.ratio("per match, 4000 / 100 matches", &most, &few);
    Ok(table)
}
