//! Elastic's mockotlpserver, and how the JSON is read that it prints of what it receives, one line to a request.
//! Over HTTP 64-bit numbers are texts in it, over gRPC mostly pairs of 32-bit halves.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

use crate::{
    Need,
    receiver::{Export, MARK, Point, PointKind, Record, Seen},
    server::Ports,
};

const CUMULATIVE: u64 = 2;

/// What starts it. Its own program takes no ports, so a script of ours starts it.
pub(crate) fn command(ports: Ports) -> Command {
    let mut command = Command::new("node");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/mock.js"))
        .arg(Need::Mock.path().unwrap())
        .args([ports.grpc.to_string(), ports.http.to_string()]);
    command
}

/// Takes a line; whether it is an export.
pub(crate) fn read(line: &str, seen: &mut Seen) -> bool {
    if line.starts_with("{\"resourceLogs\":") {
        let request: Value = serde_json::from_str(line).unwrap();
        seen.records.extend(list(&request["resourceLogs"]).flat_map(records));
        return true;
    }
    if !line.starts_with("{\"resourceMetrics\":") {
        return false;
    }
    let request: Value = serde_json::from_str(line).unwrap();
    for metrics in list(&request["resourceMetrics"]) {
        let resource = attributes(&metrics["resource"]["attributes"]);
        match resource.get(MARK) {
            Some(mark) => seen.mark = mark.parse().unwrap(),
            None => seen.exports.push(export(resource, metrics)),
        }
    }
    true
}

fn export(resource: BTreeMap<String, String>, metrics: &Value) -> Export {
    let mut export = Export { resource, ..Export::default() };
    for scope_metrics in list(&metrics["scopeMetrics"]) {
        let scope = text(&scope_metrics["scope"]["name"]);
        export.scopes.push((scope.clone(), text(&scope_metrics["scope"]["version"])));
        for metric in list(&scope_metrics["metrics"]) {
            let (kind, data) = match (&metric["gauge"], &metric["histogram"], &metric["sum"]) {
                (gauge @ Value::Object(_), _, _) => (PointKind::Gauge, gauge),
                (_, histogram @ Value::Object(_), _) => {
                    let cumulative = histogram["aggregationTemporality"] == CUMULATIVE;
                    (PointKind::Histogram { cumulative }, histogram)
                }
                (_, _, sum) => (sum_kind(sum), sum),
            };
            export.points.extend(list(&data["dataPoints"]).map(|point| Point {
                scope: scope.clone(),
                name: text(&metric["name"]),
                unit: text(&metric["unit"]),
                description: text(&metric["description"]),
                kind,
                attributes: attributes(&point["attributes"]),
                start_ns: bits(&point["startTimeUnixNano"]),
                time_ns: bits(&point["timeUnixNano"]),
                value: number(point),
                bounds: list(&point["explicitBounds"]).filter_map(Value::as_f64).collect(),
                buckets: list(&point["bucketCounts"]).map(bits).collect(),
            }));
        }
    }
    export
}

fn records(logs: &Value) -> Vec<Record> {
    let mut records = Vec::new();
    for scope_logs in list(&logs["scopeLogs"]) {
        records.extend(list(&scope_logs["logRecords"]).map(|record| Record {
            resource: attributes(&logs["resource"]["attributes"]),
            scope: text(&scope_logs["scope"]["name"]),
            event: text(&record["eventName"]),
            time_ns: bits(&record["timeUnixNano"]),
            observed_ns: bits(&record["observedTimeUnixNano"]),
            severity: record["severityNumber"].as_u64().unwrap_or_default(),
            severity_text: text(&record["severityText"]),
            body: text(&record["body"]),
            attributes: attributes(&record["attributes"]),
        }));
    }
    records
}

/// What is false or 0 is not in it.
fn sum_kind(sum: &Value) -> PointKind {
    PointKind::Sum {
        monotonic: sum["isMonotonic"] == true,
        cumulative: sum["aggregationTemporality"] == CUMULATIVE,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn attributes(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), text(value))).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn number(point: &Value) -> f64 {
    if let Some(sum) = point["sum"].as_f64() {
        return sum;
    }
    match (&point["asInt"], &point["asDouble"]) {
        (Value::Null, Value::Number(number)) => number.as_f64().unwrap(),
        // "NaN" and "Infinity" over HTTP; over gRPC nothing is left of them.
        (Value::Null, Value::String(text)) => text.parse().unwrap(),
        (Value::Null, _) => f64::NAN,
        (integer, _) => bits(integer).cast_signed() as f64,
    }
}

/// The bits of a 64-bit number, 0 where there is none.
fn bits(value: &Value) -> u64 {
    let half = |name: &str| {
        let half = i32::try_from(value[name].as_i64().unwrap()).unwrap();
        u64::from(half.cast_unsigned())
    };
    match value {
        Value::Null => 0,
        Value::String(text) => text.parse().unwrap_or_else(|_| text.parse::<i64>().unwrap().cast_unsigned()),
        Value::Object(_) => half("high") << 32 | half("low"),
        other => panic!("{other} is no 64-bit number"),
    }
}
