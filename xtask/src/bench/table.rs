//! The results of a bench: medians, quartiles and ratios, printed as a table and written as JSON.

use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::load;
use crate::{files, report};

/// The measurements of one thing.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    values: Vec<f64>,
}

/// A quantile of the values: 0.5 is the median.
pub(crate) fn quantile(values: &[f64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let index = (quantile * last as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    ratios: Vec<(String, f64)>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn row(&mut self, what: impl Into<String>, unit: &'static str, values: &[f64]) {
        self.rows.push(Row { what: what.into(), unit, values: values.to_vec() });
    }

    /// Adds a ratio: the median of the ratios of each round, as the speed of the machine drifts. A greater ratio is
    /// worse.
    pub(crate) fn ratio(&mut self, what: impl Into<String>, dividend: &[f64], divisor: &[f64]) {
        let of_rounds: Vec<f64> = dividend.iter().zip(divisor).map(|(one, other)| one / other).collect();
        self.ratios.push((what.into(), quantile(&of_rounds, 0.5)));
    }

    /// Adds a sentence about what could not be measured, and why.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints the results, writes them to `target/bench/NAME.json`, and returns them.
    pub(crate) fn finish(&self, name: &str) -> Result<Value> {
        let document = self.document()?;
        report::line(&markdown(&document));
        let file = load::folder().join(format!("{name}.json"));
        files::create_folder(&load::folder())?;
        files::write(&file, format!("{document:#}\n"))?;
        report::step(&format!("the results are in {}", file.display()));
        Ok(document)
    }

    fn document(&self) -> Result<Value> {
        let row = |row: &Row| {
            json!({
                "what": row.what,
                "unit": row.unit,
                "median": rounded(quantile(&row.values, 0.5)),
                "lower_quartile": rounded(quantile(&row.values, 0.25)),
                "upper_quartile": rounded(quantile(&row.values, 0.75)),
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

/// Rounds to three significant digits; more are noise.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// The results as tables in Markdown.
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

/// A table in Markdown with aligned columns; the first row is the header.
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

/// The machine on which the benches run: kernel, number of CPUs and their model.
pub(crate) fn machine() -> Result<String> {
    let read = |path: &str| files::read_text(Path::new(path));
    let cpus = read("/proc/cpuinfo")?;
    let models: Vec<&str> = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(": ")))
        .map(|(_, model)| model.trim())
        .collect();
    let release = read("/proc/sys/kernel/osrelease")?;
    // The rest of the release differs from build to build.
    let series: Vec<&str> = release.trim().split('.').take(2).collect();
    Ok(format!("Linux {}, {} × {}", series.join("."), models.len(), models.first().unwrap_or(&"unknown CPU")))
}
