//! The accepted ratios, in `docs/performance.json`. Times differ between machines, ratios hardly. A ratio that is worse
//! by more than a fifth is reported; `--accept` accepts the newest results, and writes `docs/performance.md` too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};

use super::{load, table};
use crate::{files, paths, report};

/// Up to this multiple of the accepted ratio, a difference is noise.
const WORSE: f64 = 1.2;

fn accepted_file() -> PathBuf {
    paths::root().join("docs/performance.json")
}

/// A sentence for each ratio that is worse than the accepted one.
pub(super) fn worse(name: &str, document: &Value) -> Result<Vec<String>> {
    let file = accepted_file();
    if !file.exists() {
        return Ok(Vec::new());
    }
    let accepted = read(&file)?;
    let sentence = |(what, ratio): (&String, &Value)| {
        let (ratio, before) = (ratio.as_f64()?, accepted[name][what].as_f64()?);
        let sentence =
            format!("{name}: {what} is {ratio}, worse by more than a fifth than the accepted {before}");
        (ratio > before * WORSE).then_some(sentence)
    };
    Ok(document["ratios"].as_object().into_iter().flatten().filter_map(sentence).collect())
}

/// The heading of the last section of `docs/performance.md`, which is written by hand and kept.
const BY_CARGO_BENCH: &str = "\n## Taking apart the files of /proc\n";

/// Accepts the newest results of these benches.
pub(super) fn accept(
    benches: impl Iterator<Item = ((&'static str, &'static str), &'static str)>,
) -> Result<()> {
    let machine = table::machine()?;
    let mut ratios = Map::new();
    let mut text = format!(
        "# What it costs\n\nMeasured on {machine}, and written by `cargo xtask bench --accept`, which measures all of it \
         again in about a quarter of an hour. Values are medians of several rounds; what is compared is measured in \
         turn. Times differ between machines, ratios hardly. The accepted ratios are in `performance.json`: `cargo xtask \
         bench` fails with exit code 1 if one is worse by more than a fifth, and prints which. Other work on the machine \
         falsifies the results.\n"
    );
    for ((name, subject), about) in benches {
        let document = read(&load::folder().join(format!("{name}.json")))
            .with_context(|| format!("measure it first: cargo xtask bench {name}"))?;
        ensure!(
            document["machine"] == machine.as_str(),
            "{name} was measured on {}; measure it here: cargo xtask bench {name}",
            document["machine"]
        );
        ratios.insert(name.to_owned(), document["ratios"].clone());
        text +=
            &format!("\n## {subject}\n\n`cargo xtask bench {name}`\n\n{about}{}", table::markdown(&document));
    }
    write(&accepted_file(), &format!("{:#}\n", Value::from(ratios)))?;
    let page = paths::root().join("docs/performance.md");
    let before = fs::read_to_string(&page).unwrap_or_default();
    text += before.find(BY_CARGO_BENCH).map_or("", |at| &before[at..]);
    write(&page, &text)
}

fn read(file: &Path) -> Result<Value> {
    let text = files::read_text(file)?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    report::step(&format!("writing {}", file.display()));
    files::write(file, text)
}
