//! What a bench measured: medians, how far they spread, and how they compare. Shown as a table, kept as JSON.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::load;
use crate::report;

/// One thing, measured again and again.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    values: Vec<f64>,
}

/// A part of the values, in order of size: 0.5 is the median.
pub(crate) fn part(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a short list"
    )]
    let place = (part * last as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// All that a bench measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    ratios: Vec<(String, f64)>,
    notes: Vec<String>,
}

impl Table {
    /// Adds a row.
    pub(crate) fn row(&mut self, what: impl Into<String>, unit: &'static str, values: &[f64]) {
        self.rows.push(Row { what: what.into(), unit, values: values.to_vec() });
    }

    /// Adds how many times `dividend` is `divisor`: the median of the rounds' own, as the machine's speed drifts. More
    /// is worse.
    pub(crate) fn ratio(&mut self, what: impl Into<String>, dividend: &[f64], divisor: &[f64]) {
        let of_rounds: Vec<f64> = dividend.iter().zip(divisor).map(|(one, other)| one / other).collect();
        self.ratios.push((what.into(), part(&of_rounds, 0.5)));
    }

    /// Adds what could not be measured, and why.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Shows it, keeps it under this name, and returns what is kept.
    pub(crate) fn finish(&self, name: &str) -> Result<Value> {
        let document = self.document()?;
        report::line(&markdown(&document));
        let file = load::folder().join(format!("{name}.json"));
        fs::create_dir_all(load::folder())
            .and_then(|()| fs::write(&file, format!("{document:#}\n")))
            .with_context(|| format!("cannot write {}", file.display()))?;
        report::step(&format!("the figures are in {}", file.display()));
        Ok(document)
    }

    fn document(&self) -> Result<Value> {
        let row = |row: &Row| {
            json!({
                "what": row.what,
                "unit": row.unit,
                "median": rounded(part(&row.values, 0.5)),
                "lower_quartile": rounded(part(&row.values, 0.25)),
                "upper_quartile": rounded(part(&row.values, 0.75)),
                "measurements": row.values.len(),
            })
        };
        let ratios: Map<String, Value> =
            self.ratios.iter().map(|(what, ratio)| (what.clone(), json!(rounded(*ratio)))).collect();
        Ok(json!({
            "machine": machine()?,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "ratios": ratios,
            "notes": self.notes,
        }))
    }
}

/// Three digits; what is finer is noise.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// The document of a bench, for people.
pub(crate) fn markdown(document: &Value) -> String {
    let number = |value: &Value| value.as_f64().map_or_else(|| "none".into(), |number| format!("{number}"));
    let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let mut rows = vec![["", "median", "quartiles", "unit"].map(str::to_owned)];
    for row in list("rows") {
        let quartiles = format!("{} .. {}", number(&row["lower_quartile"]), number(&row["upper_quartile"]));
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        rows.push([text("what"), number(&row["median"]), quartiles, text("unit")]);
    }
    let mut shown = aligned(&rows);
    let mut ratios = vec![["ratio", "times"].map(str::to_owned)];
    for (what, ratio) in document["ratios"].as_object().into_iter().flatten() {
        ratios.push([what.clone(), number(ratio)]);
    }
    if ratios.len() > 1 {
        shown += &format!("\n{}", aligned(&ratios));
    }
    for note in list("notes") {
        shown += &format!("\n{}\n", note.as_str().unwrap_or_default());
    }
    shown
}

/// Rows of equal columns; the first is the head.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |cells: &[String; COLUMNS]| {
        let cells: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut shown = String::new();
    for (place, row) in rows.iter().enumerate() {
        shown += &line(row);
        if place == 0 {
            shown += &line(&widths.map(|width| "-".repeat(width)));
        }
    }
    shown
}

/// What was measured on.
pub(crate) fn machine() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let cpus = read("/proc/cpuinfo")?;
    let models: Vec<&str> = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(": ")))
        .map(|(_, model)| model.trim())
        .collect();
    let release = read("/proc/sys/kernel/osrelease")?;
    // The part that says what it can do; what comes after it differs from build to build.
    let series: Vec<&str> = release.trim().split('.').take(2).collect();
    Ok(format!("Linux {}, {} × {}", series.join("."), models.len(), models.first().unwrap_or(&"unknown CPU")))
}
