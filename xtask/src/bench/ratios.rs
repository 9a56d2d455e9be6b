//! The ratios that were accepted, in `docs/performance.json`: another machine has other times, but about the same ratios.
//! One that is worse by more than a fifth is said. `--accept` takes the newest, and writes `docs/performance.md`.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};

use super::{load, table};
use crate::{paths, report};

/// So many times the accepted ratio is noise, and more is worse.
const WORSE: f64 = 1.2;

fn accepted_file() -> PathBuf {
    paths::root().join("docs/performance.json")
}

/// What is worse than what was accepted: a sentence for each.
pub(super) fn worse(name: &str, document: &Value) -> Result<Vec<String>> {
    let file = accepted_file();
    if !file.exists() {
        return Ok(Vec::new());
    }
    let accepted = read(&file)?;
    let sentence = |(what, ratio): (&String, &Value)| {
        let (ratio, before) = (ratio.as_f64()?, accepted[name][what].as_f64()?);
        let sentence =
            format!("{name}: {what} is {ratio}, and {before} was accepted: worse by more than a fifth");
        (ratio > before * WORSE).then_some(sentence)
    };
    Ok(document["ratios"].as_object().into_iter().flatten().filter_map(sentence).collect())
}

/// Where the last section of `docs/performance.md` begins. `cargo bench` measures what stands there, and it stays as it is.
const BY_CARGO_BENCH: &str = "\n## Taking apart the files of /proc\n";

/// Takes what these benches measured last for what is to be expected.
pub(super) fn accept(
    benches: impl Iterator<Item = ((&'static str, &'static str), &'static str)>,
) -> Result<()> {
    let machine = table::machine()?;
    let mut ratios = Map::new();
    let mut text = format!(
        "# What it costs\n\nMeasured on {machine}, and written by `cargo xtask bench --accept`, which measures all of it \
         again and takes about a quarter of an hour. Figures are medians of several rounds; what is compared is measured \
         in turn. Times are of this machine; ratios are about the same on others, and are kept in `performance.json`: \
         `cargo xtask bench` tells which has become worse by more than a fifth, and ends with exit code 1 then. With \
         other work on the machine it measures that too.\n"
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

fn read(file: &PathBuf) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))
}

fn write(file: &PathBuf, text: &str) -> Result<()> {
    report::step(&format!("writing {}", file.display()));
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
