//! The receiver rotel, and how the text is read that it prints of what it receives. All of a request is in one piece.
//! A text with a line break in which rotel's own next line could follow is read as that line.

use std::{collections::BTreeMap, process::Command};

use crate::{
    Need,
    receiver::{Export, MARK, Point, PointKind, Seen},
    server::{Ports, loopback},
};

/// What starts it.
pub(crate) fn command(ports: Ports) -> Command {
    let mut command = Command::new(Need::Rotel.path().unwrap());
    command
        .env_clear()
        .args(["start", "--exporter", "blackhole", "--disable-batching"])
        .args(["--debug-log", "metrics", "--debug-log-verbosity", "detailed"])
        .args(["--otlp-grpc-endpoint", &loopback(ports.grpc).to_string()])
        .args(["--otlp-http-endpoint", &loopback(ports.http).to_string()]);
    command
}

/// As [`command`], but it takes no logs: it answers that it has no such service, and no such path.
pub(crate) fn command_without_logs(ports: Ports) -> Command {
    let mut command = command(ports);
    command.arg("--otlp-receiver-logs-disabled");
    command
}

/// Where in its text it is.
#[derive(Default)]
pub(crate) struct Reader {
    /// The export whose lines come; it is complete when the next one begins.
    current: Option<Export>,
    /// The current metric: a point before any of its points.
    metric: Option<Point>,
    list: List,
    /// The attribute whose value the next line goes on with, if that is no line of rotel's.
    key: String,
}

/// What the lines with arrows are about.
#[derive(Clone, Copy, Default)]
enum List {
    #[default]
    Other,
    Resource,
    Metric,
    Point,
}

impl Reader {
    /// Takes a line; whether it belongs to an export.
    pub(crate) fn read(&mut self, line: &str, seen: &mut Seen) -> bool {
        // The log begins its lines with a colour.
        if line.starts_with('\u{1b}') {
            return false;
        }
        if line.starts_with("ResourceMetrics #") {
            seen.exports.extend(self.current.take().map(finished));
            *self = Self { current: Some(Export::default()), ..Self::default() };
            return true;
        }
        let Some(export) = &mut self.current else { return false };
        if let Some((key, value)) = line.strip_prefix("     -> ").and_then(|entry| entry.split_once(": ")) {
            match (self.list, &mut self.metric) {
                (List::Resource, _) if key == MARK => {
                    seen.mark = plain(value).parse().unwrap();
                    self.current = None;
                    return true;
                }
                (List::Resource, _) => _ = export.resource.insert(key.to_owned(), value.to_owned()),
                (List::Point, _) => {
                    let point = export.points.last_mut().expect("attributes follow a point");
                    point.attributes.insert(key.to_owned(), value.to_owned());
                }
                (List::Metric, Some(metric)) => describe(metric, key, value),
                (List::Metric | List::Other, _) => {}
            }
            key.clone_into(&mut self.key);
        } else if line.starts_with("Resource SchemaURL: ") || line.starts_with("ScopeMetrics") {
            self.list = List::Other;
        } else if line == "Resource attributes:" {
            self.list = List::Resource;
        } else if line == "InstrumentationScope attributes:" {
            self.list = List::Other;
        } else if let Some(scope) = line.strip_prefix("InstrumentationScope ") {
            let (name, version) = scope.rsplit_once(' ').expect("a name and a version");
            export.scopes.push((name.to_owned(), version.to_owned()));
            self.list = List::Other;
        } else if line == "Data point attributes:" {
            self.list = List::Point;
        } else if line.starts_with("Metric #") {
            let scope = export.scopes.last().map_or_else(String::new, |(name, _)| name.clone());
            self.metric = Some(nothing(scope));
            self.list = List::Metric;
        } else if line.starts_with("NumberDataPoints #") || line.starts_with("HistogramDataPoints #") {
            export.points.extend(self.metric.clone());
            self.list = List::Other;
        } else if let Some((_, number)) =
            line.strip_prefix("ExplicitBounds #").and_then(|it| it.split_once(": "))
        {
            let point = export.points.last_mut().expect("bounds follow a point");
            point.bounds.push(number.parse().unwrap());
        } else if let Some((_, count)) =
            line.strip_prefix("Buckets #").and_then(|it| it.split_once(", Count: "))
        {
            let point = export.points.last_mut().expect("buckets follow a point");
            point.buckets.push(count.parse().unwrap());
        } else if ["Count: ", "Min: ", "Max: "].iter().any(|field| line.starts_with(field)) {
            self.list = List::Other;
        } else if let Some((field, number)) = number(line) {
            let point = export.points.last_mut().expect("numbers follow a point");
            match field {
                "StartTimestamp" => point.start_ns = number.parse().unwrap(),
                "Timestamp" => point.time_ns = number.parse().unwrap(),
                _ => point.value = number.parse().unwrap(),
            }
            self.list = List::Other;
        } else {
            self.go_on(line);
        }
        true
    }

    /// A further line of a text that has several.
    fn go_on(&mut self, line: &str) {
        let Some(export) = &mut self.current else { return };
        let text = match self.list {
            List::Resource => export.resource.get_mut(&self.key),
            List::Point => export.points.last_mut().and_then(|point| point.attributes.get_mut(&self.key)),
            List::Metric => self.metric.as_mut().map(|metric| &mut metric.description),
            List::Other => None,
        };
        if let Some(text) = text.filter(|_| line != "Descriptor:") {
            text.push('\n');
            text.push_str(line);
        }
    }
}

/// A metric of which nothing is known but its scope.
fn nothing(scope: String) -> Point {
    Point {
        scope,
        name: String::new(),
        unit: String::new(),
        description: String::new(),
        kind: PointKind::Gauge,
        attributes: BTreeMap::new(),
        start_ns: 0,
        time_ns: 0,
        value: f64::NAN,
        bounds: Vec::new(),
        buckets: Vec::new(),
    }
}

fn describe(metric: &mut Point, key: &str, value: &str) {
    match (key, &mut metric.kind) {
        ("Name", _) => value.clone_into(&mut metric.name),
        ("Unit", _) => value.clone_into(&mut metric.unit),
        ("Description", _) => value.clone_into(&mut metric.description),
        ("DataType", kind) if value == "Sum" => {
            *kind = PointKind::Sum { monotonic: false, cumulative: false }
        }
        ("DataType", kind) if value == "Histogram" => *kind = PointKind::Histogram { cumulative: false },
        ("IsMonotonic", PointKind::Sum { monotonic, .. }) => *monotonic = value == "true",
        (
            "AggregationTemporality",
            PointKind::Sum { cumulative, .. } | PointKind::Histogram { cumulative },
        ) => {
            *cumulative = value == "AGGREGATION_TEMPORALITY_CUMULATIVE";
        }
        _ => {}
    }
}

fn number(line: &str) -> Option<(&str, &str)> {
    line.split_once(": ").filter(|(field, _)| ["StartTimestamp", "Timestamp", "Value", "Sum"].contains(field))
}

/// With the values of attributes as they are, not as rotel writes them.
fn finished(mut export: Export) -> Export {
    let points = export.points.iter_mut().map(|point| &mut point.attributes);
    for value in points.chain([&mut export.resource]).flat_map(BTreeMap::values_mut) {
        *value = plain(value).to_owned();
    }
    export
}

/// `Str(text)` is `text`; lists stay as rotel writes them.
fn plain(value: &str) -> &str {
    let within = |kind: &str| value.strip_prefix(kind)?.strip_suffix(')');
    let scalar = ["Str(", "Int(", "Bool(", "Double("].into_iter().find_map(within);
    scalar.unwrap_or(if value == "Empty" { "" } else { value })
}
