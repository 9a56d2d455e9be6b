//! `cargo xtask bench look`: CPU time of a look, beside the least that asking /proc for the same takes; how it grows
//! with the processes that match, and how little with the others.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    in_process,
    load::{Kind, LARGE, Load, NAME, SMALL},
    table::Table,
};
use crate::{build, host};

/// All loads in turn, so often.
const ROUNDS: usize = 3;

/// The processes of a measurement; growth is measured with small ones, as there are ids for so many threads alone.
struct Scene {
    matching: usize,
    all: usize,
    kind: Kind,
    look: Vec<f64>,
    opened: Vec<f64>,
    kept: Vec<f64>,
    iterated: Vec<f64>,
    seen: usize,
}

impl Scene {
    fn new(matching: usize, all: usize, kind: Kind) -> Self {
        let none = Vec::new;
        Self { matching, all, kind, look: none(), opened: none(), kept: none(), iterated: none(), seen: 0 }
    }

    fn measure(&mut self, program: &Command, reference: &Path) -> Result<()> {
        let _load = Load::start(self.matching, self.all, self.kind)?;
        let measured =
            in_process::run(Command::new(program.get_program()).args([NAME, "costs"]).arg(reference))?;
        let microseconds = |name: &str| -> Result<Vec<f64>> {
            let values = measured[name].as_array().with_context(|| format!("no {name} was measured"))?;
            Ok(values.iter().filter_map(Value::as_f64).map(|nanoseconds| nanoseconds / 1e3).collect())
        };
        self.look.extend(microseconds("look")?);
        self.opened.extend(microseconds("opened")?);
        self.kept.extend(microseconds("kept")?);
        self.iterated.extend(microseconds("iterated")?);
        self.seen = measured["processes"].as_u64().and_then(|seen| usize::try_from(seen).ok()).unwrap_or(0);
        Ok(())
    }

    fn name(&self) -> String {
        format!("{} of {} processes match", self.matching, self.seen)
    }

    fn per_match(&self, times: &[f64]) -> Vec<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand processes")]
        let count = self.matching as f64;
        times.iter().map(|time| time / count).collect()
    }
}

pub(super) fn look() -> Result<Table> {
    let program = in_process::build("look")?;
    let reference = build::reference_object()?;
    let mut typical = [Scene::new(1000, 1470, SMALL), Scene::new(1000, 1470, LARGE)];
    let mut alone = [Scene::new(1, 0, SMALL), Scene::new(1, 1470, SMALL)];
    let mut growing = [100, 1000, 4000].map(|matching| Scene::new(matching, 0, SMALL));
    for round in 1..=ROUNDS {
        host::step(&format!("measuring, round {round} of {ROUNDS}"));
        for scene in typical.iter_mut().chain(&mut alone).chain(&mut growing) {
            scene.measure(&program, &reference)?;
        }
    }

    let mut table = Table::default();
    for scene in &typical {
        let (name, kind) = (scene.name(), scene.kind);
        table.row(format!("{name}, {kind}: a look"), "µs CPU", &scene.look);
        table.row("  all of them: stat, io, fd opened each time", "µs CPU", &scene.opened);
        table.row("  those that match: stat, io, fd kept open", "µs CPU", &scene.kept);
        table.row("  all tasks: 12 words by a BPF iterator", "µs CPU", &scene.iterated);
        table.ratio(format!("look / opened each time, {kind}"), &scene.look, &scene.opened);
        table.ratio(format!("look / kept open, {kind}"), &scene.look, &scene.kept);
    }
    for scene in &alone {
        table.row(format!("{}: a look", scene.name()), "µs CPU", &scene.look);
        table.row("  all tasks: 12 words by a BPF iterator", "µs CPU", &scene.iterated);
    }
    table.ratio("1 match among many / among few processes", &alone[1].look, &alone[0].look);
    for scene in &growing {
        let name = scene.name();
        table.row(format!("{name}: a look, per match"), "µs CPU", &scene.per_match(&scene.look));
        table.row("  stat, io, fd kept open, per match", "µs CPU", &scene.per_match(&scene.kept));
        #[expect(clippy::cast_precision_loss, reason = "a few thousand processes")]
        let each: Vec<f64> = scene.opened.iter().map(|time| time / scene.seen as f64).collect();
        table.row("  all of them: stat, io, fd opened each time, per process", "µs CPU", &each);
    }
    let [few, many, most] = growing.each_ref().map(|scene| scene.per_match(&scene.look));
    table.ratio("per match, 1000 / 100 matches", &many, &few);
    table.ratio("per match, 4000 / 100 matches", &most, &few);
    Ok(table)
}
