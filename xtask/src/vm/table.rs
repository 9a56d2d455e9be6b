//! What each kernel gives: made of what the agent said in each machine, and kept in the README between two marks.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::host;

/// The three looks of `init.sh`, the one that gives most first, and what the table calls them.
const LOOKS: [&str; 3] = ["with BTF", "without BTF", "without BPF"];
/// The agent's sources, and how the table calls what they tell of.
const SOURCES: [(&str, &str); 3] = [
    ("context_switches", "context switches"),
    ("block_io", "block I/O"),
    ("lifecycle", "beginning and end of processes"),
];
const BEGINNING: &str = "<!-- written by `cargo xtask vm` -->\n";
const END: &str = "<!-- end of what `cargo xtask vm` wrote -->\n";

/// What the agent said in one look.
struct Look {
    /// The forms in which hooks were attached.
    forms: Vec<String>,
    document: Value,
}

/// What the agent said on one kernel.
pub(crate) struct Given(BTreeMap<String, Look>);

impl Given {
    /// Finds it on a console.
    pub(crate) fn on(console: &str) -> Result<Self> {
        let mut looks = BTreeMap::new();
        let mut parts = console.split("machine: looks ");
        parts.next();
        for part in parts {
            let part = part.replace('\r', "");
            let (name, said) = part.split_once('\n').context("a look has no lines")?;
            let forms = said
                .lines()
                .filter_map(|line| line.split_once("attached: "))
                .map(|(_, form)| form.to_owned());
            // The log is before the document, and what the machine says at its end after it.
            let (_, json) = said.split_once("\n{").context("a look has no document")?;
            let document = serde_json::Deserializer::from_str(&format!("{{{json}")).into_iter().next();
            let document = document.context("a look has no document")?.context("a document that is none")?;
            looks.insert(name.to_owned(), Look { forms: forms.collect(), document });
        }
        for name in LOOKS {
            looks.get(name).with_context(|| format!("the console shows no look {name}"))?;
        }
        Ok(Self(looks))
    }

    /// Where the figures of one kind come from, as the README's words have it.
    fn source(&self, look: &str, source: &str) -> String {
        let look = &self.0[look];
        let told = look.document["agent"]["sources"][source].as_str().unwrap_or_default();
        let form = match source {
            "context_switches" => look.forms.first(),
            "block_io" => look.forms.get(1),
            _ => None,
        };
        match (told, form.map(String::as_str)) {
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

    /// When a figure is there.
    fn figure(&self, name: &str) -> String {
        let there = LOOKS.map(|look| self.0[look].document["processes"][0]["metrics"].get(name).is_some());
        match there {
            [true, true, true] => "always".into(),
            [true, true, false] => "with BPF".into(),
            [true, false, false] => "with BTF".into(),
            [false, false, false] => "never".into(),
            other => format!("{other:?}"),
        }
    }

    fn figures(&self) -> Vec<String> {
        let metrics = &self.0[LOOKS[0]].document["processes"][0]["metrics"];
        metrics.as_object().map(|metrics| metrics.keys().cloned().collect()).unwrap_or_default()
    }
}

/// The table of these kernels, by their names.
fn table(kernels: &[(String, Given)]) -> String {
    let row = |first: &str, cells: &mut dyn Iterator<Item = String>| {
        format!("| {first} | {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut table = row("", &mut kernels.iter().map(|(series, _)| format!("Linux {series}")));
    table += &row("---", &mut kernels.iter().map(|_| "---".to_owned())).replace(' ', "");
    for (source, name) in SOURCES {
        for look in LOOKS {
            let first = format!("{name}, {look}");
            table += &row(&first, &mut kernels.iter().map(|(_, given)| given.source(look, source)));
        }
    }
    // Figures that are there alike are one row.
    let mut rows: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let figures = kernels.iter().flat_map(|(_, given)| given.figures());
    for figure in figures {
        if rows.iter().any(|(names, _)| names.contains(&figure)) {
            continue;
        }
        let cells: Vec<String> = kernels.iter().map(|(_, given)| given.figure(&figure)).collect();
        match rows.iter_mut().find(|(_, known)| *known == cells) {
            Some((names, _)) => names.push(figure),
            None => rows.push((vec![figure], cells)),
        }
    }
    for (names, cells) in rows {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        table += &row(&names.join(", "), &mut cells.into_iter());
    }
    table
}

/// Whether the README's table is to be written or must be right already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Write,
    Check,
}

impl Table {
    /// Puts what the kernels gave into the README, or finds it there.
    pub(crate) fn settle(self, kernels: &[(String, Given)]) -> Result<()> {
        let path: PathBuf = host::root().join("README.md");
        let readme = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (before, rest) = readme.split_once(BEGINNING).context("the README has no mark for the table")?;
        let (written, after) = rest.split_once(END).context("the README has no mark for the table's end")?;
        let table = table(kernels);
        if written == table {
            return Ok(());
        }
        match self {
            Self::Check => bail!(
                "the README's table of kernels is not what the machines gave; `cargo xtask vm` writes it:\n{table}"
            ),
            Self::Write => {
                host::step("writing the table of kernels into README.md");
                fs::write(&path, format!("{before}{BEGINNING}{table}{END}{after}"))
                    .with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }
}
