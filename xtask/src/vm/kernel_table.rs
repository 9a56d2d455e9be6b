//! The README's table of kernels: which metrics and hooks each kernel provides. It is made from the agent's output in
//! each virtual machine, and stands between two marks.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{files, paths, report};

/// The three runs of the agent in `init.sh`, the one with most metrics first. The table has these names too.
const RUNS: [&str; 3] = ["with BTF", "without BTF", "without BPF"];
/// The agent's sources, and their names in the table.
const SOURCES: [(&str, &str); 3] = [
    ("context_switches", "context switches"),
    ("block_io", "block I/O"),
    ("lifecycle", "beginning and end of processes"),
];
const BEGINNING: &str = "<!-- written by `cargo xtask vm` -->\n";
const END: &str = "<!-- end of what `cargo xtask vm` wrote -->\n";

/// The output of one run.
struct Run {
    /// The program variants in which the hooks were attached.
    variants: Vec<String>,
    document: Value,
}

/// What one kernel provides, by run.
pub(crate) struct Provided(BTreeMap<String, Run>);

impl Provided {
    /// Finds the output of the runs in the text of a console.
    pub(crate) fn from_console(console: &str) -> Result<Self> {
        let mut runs = BTreeMap::new();
        let mut parts = console.split("machine: runs ");
        parts.next();
        for part in parts {
            let part = part.replace('\r', "");
            let (name, output) = part.split_once('\n').context("a run of the agent has no output")?;
            let variants = output
                .lines()
                .filter_map(|line| line.split_once("attached: "))
                .map(|(_, variant)| variant.to_owned());
            // The log is before the document, and the last lines of the machine are after it.
            let (_, json) = output.split_once("\n{").context("a run of the agent printed no document")?;
            let document = serde_json::Deserializer::from_str(&format!("{{{json}")).into_iter().next();
            let document = document
                .context("a run of the agent printed no document")?
                .context("a run of the agent printed a document that is no JSON")?;
            runs.insert(name.to_owned(), Run { variants: variants.collect(), document });
        }
        for name in RUNS {
            runs.get(name).with_context(|| format!("the console has no run {name}"))?;
        }
        Ok(Self(runs))
    }

    /// The source of some metrics, in words.
    fn source(&self, run: &str, source: &str) -> String {
        let run = &self.0[run];
        let kind = run.document["agent"]["sources"][source].as_str().unwrap_or_default();
        let variant = match source {
            "context_switches" => run.variants.first(),
            "block_io" => run.variants.get(1),
            _ => None,
        };
        match (kind, variant.map(String::as_str)) {
            ("raw_tracepoint", Some("RawWithState")) => "raw tracepoint, which passes the state".into(),
            ("raw_tracepoint", Some("RawWithCurrent")) => "raw tracepoint, state by a trusted pointer".into(),
            ("raw_tracepoint", Some("RawWithTask")) => "raw tracepoint, state by a helper".into(),
            ("raw_tracepoint", Some("Raw")) => "raw tracepoints, bio first".into(),
            ("raw_tracepoint", Some("RawWithQueue")) => "raw tracepoints, queue first".into(),
            ("raw_tracepoint", _) => "raw tracepoints".into(),
            ("tracepoint", _) => "classic tracepoints".into(),
            ("procfs", _) => "/proc".into(),
            (other, _) => other.into(),
        }
    }

    /// In which runs a metric was present, in words.
    fn metric(&self, name: &str) -> String {
        let present = RUNS.map(|run| self.0[run].document["processes"][0]["metrics"].get(name).is_some());
        match present {
            [true, true, true] => "always".into(),
            [true, true, false] => "with BPF".into(),
            [true, false, false] => "with BTF".into(),
            [false, false, false] => "never".into(),
            other => format!("{other:?}"),
        }
    }

    fn metrics(&self) -> Vec<String> {
        let metrics = &self.0[RUNS[0]].document["processes"][0]["metrics"];
        metrics.as_object().map(|metrics| metrics.keys().cloned().collect()).unwrap_or_default()
    }
}

/// The table of these kernels, in Markdown.
fn table(kernels: &[(String, Provided)]) -> String {
    let row = |first: &str, cells: &mut dyn Iterator<Item = String>| {
        format!("| {first} | {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut table = row("", &mut kernels.iter().map(|(series, _)| format!("Linux {series}")));
    table += &row("---", &mut kernels.iter().map(|_| "---".to_owned())).replace(' ', "");
    for (source, name) in SOURCES {
        for run in RUNS {
            let first = format!("{name}, {run}");
            table += &row(&first, &mut kernels.iter().map(|(_, provided)| provided.source(run, source)));
        }
    }
    // Metrics with the same cells share a row.
    let mut rows: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let metrics = kernels.iter().flat_map(|(_, provided)| provided.metrics());
    for metric in metrics {
        if rows.iter().any(|(names, _)| names.contains(&metric)) {
            continue;
        }
        let cells: Vec<String> = kernels.iter().map(|(_, provided)| provided.metric(&metric)).collect();
        match rows.iter_mut().find(|(_, known)| *known == cells) {
            Some((names, _)) => names.push(metric),
            None => rows.push((vec![metric], cells)),
        }
    }
    for (names, cells) in rows {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        table += &row(&names.join(", "), &mut cells.into_iter());
    }
    table
}

/// Whether to write the README's table, or to fail if it is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Write,
    Check,
}

impl Table {
    pub(crate) fn update(self, kernels: &[(String, Provided)]) -> Result<()> {
        let path = paths::root().join("README.md");
        let readme = files::read_text(&path)?;
        let (before, rest) =
            readme.split_once(BEGINNING).context("README.md has no mark for the beginning of the table")?;
        let (written, after) =
            rest.split_once(END).context("README.md has no mark for the end of the table")?;
        let table = table(kernels);
        if written == table {
            return Ok(());
        }
        match self {
            Self::Check => bail!(
                "the table of kernels in README.md is out of date; run `cargo xtask vm`, which writes it:\n{table}"
            ),
            Self::Write => {
                report::step("writing the table of kernels into README.md");
                files::write(&path, format!("{before}{BEGINNING}{table}{END}{after}"))
            }
        }
    }
}
