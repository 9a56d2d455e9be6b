//! The reference of metrics in the documentation: tables generated from the catalogue, between marks in Markdown.

use std::fmt::Write as _;

use crate::{
    metrics::catalogue::{CATALOGUE, ChurnMetric, Metric, Points, Vocabulary},
    model::exit::Exit,
};

/// The mark that begins a table in a document, the metrics in it, and its header.
const TABLES: [(&str, Vocabulary, &str); 3] = [
    (
        "<!-- generated: metrics -->\n",
        Vocabulary::Otel,
        "| metric | kind | unit | each | attributes | meaning |\n|---|---|---|---|---|---|\n",
    ),
    (
        "<!-- generated: metrics of the earlier plugin -->\n",
        Vocabulary::Instana,
        "| metric | kind | unit | meaning |\n|---|---|---|---|\n",
    ),
    (
        "<!-- generated: metrics of the agent -->\n",
        Vocabulary::Agent,
        "| metric | kind | unit | attributes | meaning |\n|---|---|---|---|---|\n",
    ),
];
/// The mark that ends a table.
const END: &str = "<!-- end -->";

/// The document with its tables generated again; `None` if a mark has no end.
pub fn updated(document: &str) -> Option<String> {
    let mut updated = document.to_owned();
    for (mark, vocabulary, head) in TABLES {
        let Some((before, rest)) = updated.split_once(mark) else { continue };
        let (_, after) = rest.split_once(END)?;
        updated = format!("{before}{mark}\n{head}{}\n{END}{after}", rows(vocabulary));
    }
    Some(updated)
}

fn rows(vocabulary: Vocabulary) -> String {
    let metrics = CATALOGUE.iter().filter(|metric| metric.vocabulary == vocabulary);
    metrics.fold(String::new(), |mut rows, metric| {
        // Writing to a string never fails.
        let _ = writeln!(rows, "{}", row(metric));
        rows
    })
}

fn row(metric: &Metric) -> String {
    let Metric { name, kind, unit, description, .. } = metric;
    let attributes = attributes(metric);
    let each = match metric.points {
        Points::Each(_) => "process",
        _ => "group",
    };
    let start = format!("| `{name}` | {} | `{unit}` |", kind.name());
    match metric.vocabulary {
        Vocabulary::Otel => format!("{start} {each} | {attributes} | {description} |"),
        Vocabulary::Instana => format!("{start} {description} |"),
        Vocabulary::Agent => format!("{start} {attributes} | {description} |"),
    }
}

fn attributes(metric: &Metric) -> String {
    match metric.points {
        Points::Each(points) | Points::Group(points) => {
            let named = points.iter().filter_map(|point| point.attribute);
            let values: Vec<_> = named.clone().map(|(_, value)| value).collect();
            named.take(1).map(|(name, _)| format!("`{name}`: {}", values.join(", "))).collect()
        }
        Points::Churn(ChurnMetric::Exits) => {
            format!("`m8refsvr.exit.reason`: {}", Exit::REASONS.join(", "))
        }
        Points::Churn(_) => String::new(),
        Points::Agent(_, names) => {
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_is_up_to_date() {
        let readme = include_str!("../../../README.md");
        assert_eq!(TABLES.iter().filter(|table| readme.contains(table.0)).count(), TABLES.len());
        assert!(updated(readme).as_deref() == Some(readme), "run `cargo xtask docs`");
    }

    #[test]
    fn a_table_is_replaced_between_its_marks_alone() {
        let text = format!("a\n{}old\n{END}\nb\n", TABLES[1].0);
        let new = updated(&text).unwrap();
        assert!(
            new.starts_with("a\n") && new.ends_with("|\n\n<!-- end -->\nb\n") && !new.contains("old"),
            "{new}"
        );
        assert_eq!(updated("nothing"), Some("nothing".into()));
        assert_eq!(updated(TABLES[0].0), None);
    }
}
