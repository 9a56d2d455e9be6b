//! Requests with everything in them that an export distinguishes, and what a receiver shows of them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};

use crate::receiver::{Export, Point, PointKind, Record};

pub(crate) const START: u64 = 1_600_000_000_000_000_001;
pub(crate) const NOW: u64 = 1_700_000_000_123_456_789;

/// A request with everything in it that an export distinguishes; `text` is the value of an attribute.
pub(crate) fn request(text: &str) -> ExportMetricsServiceRequest {
    let attributes = vec![
        attribute("text", Value::StringValue(text.to_owned())),
        attribute("lines", Value::StringValue("one (1)\ntwo: (2)".to_owned())),
        attribute("integer", Value::IntValue(-5)),
        attribute("float", Value::DoubleValue(1.5)),
        attribute("truth", Value::BoolValue(true)),
    ];
    let gauge = Gauge { data_points: vec![point(number_data_point::Value::AsInt(42), 0, attributes)] };
    let time = Sum {
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        is_monotonic: true,
        data_points: vec![
            point(number_data_point::Value::AsDouble(1e-9), START, Vec::new()),
            point(number_data_point::Value::AsDouble(1e22), START, Vec::new()),
        ],
    };
    let change = Sum {
        aggregation_temporality: AggregationTemporality::Delta.into(),
        is_monotonic: false,
        data_points: vec![point(number_data_point::Value::AsInt(-1 << 40), START, Vec::new())],
    };
    let resource = vec![
        attribute("service.name", Value::StringValue("M8RefSvr 64".to_owned())),
        attribute("process.pid", Value::IntValue(4711)),
    ];
    let times = Histogram {
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        data_points: vec![HistogramDataPoint {
            start_time_unix_nano: START,
            time_unix_nano: NOW,
            count: 6,
            sum: Some(1.25),
            explicit_bounds: vec![0.5, 2.5],
            bucket_counts: vec![4, 0, 2],
            ..HistogramDataPoint::default()
        }],
    };
    let scopes = vec![
        scope(
            "one",
            "1.2",
            vec![
                metric(
                    "a.gauge",
                    "{thread}",
                    "A gauge: with -> arrows,\nand a second line",
                    Data::Gauge(gauge),
                ),
                metric("a.time", "s", "", Data::Sum(time)),
            ],
        ),
        scope(
            "two",
            "",
            vec![
                metric("a.change", "", "Größe", Data::Sum(change)),
                metric("a.histogram", "s", "Times", Data::Histogram(times)),
            ],
        ),
    ];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: resource, ..Resource::default() }),
            scope_metrics: scopes,
            schema_url: "https://opentelemetry.io/schemas/1.38.0".to_owned(),
        }],
    }
}

/// The same as a receiver shows it.
pub(crate) fn export(text: &str) -> Export {
    let attributes = [
        ("text", text),
        ("lines", "one (1)\ntwo: (2)"),
        ("integer", "-5"),
        ("float", "1.5"),
        ("truth", "true"),
    ];
    let point = |scope: &str, name: &str, unit: &str, description: &str, kind, start_ns, value| Point {
        scope: scope.to_owned(),
        name: name.to_owned(),
        unit: unit.to_owned(),
        description: description.to_owned(),
        kind,
        attributes: BTreeMap::new(),
        start_ns,
        time_ns: NOW,
        value,
        bounds: Vec::new(),
        buckets: Vec::new(),
    };
    let gauge = Point {
        attributes: owned(&attributes),
        ..point(
            "one",
            "a.gauge",
            "{thread}",
            "A gauge: with -> arrows,\nand a second line",
            PointKind::Gauge,
            0,
            42.0,
        )
    };
    let time = PointKind::Sum { monotonic: true, cumulative: true };
    let change = PointKind::Sum { monotonic: false, cumulative: false };
    let times = PointKind::Histogram { cumulative: true };
    Export {
        resource: owned(&[("service.name", "M8RefSvr 64"), ("process.pid", "4711")]),
        scopes: [("one", "1.2"), ("two", "")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into(),
        points: vec![
            gauge,
            point("one", "a.time", "s", "", time, START, 1e-9),
            point("one", "a.time", "s", "", time, START, 1e22),
            point("two", "a.change", "", "Größe", change, START, -1_099_511_627_776.0),
            Point {
                bounds: vec![0.5, 2.5],
                buckets: vec![4, 0, 2],
                ..point("two", "a.histogram", "s", "Times", times, START, 1.25)
            },
        ],
    }
}

/// A request with a log record, with everything in it that a record distinguishes.
pub(crate) fn logs(body: &str) -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: START,
        observed_time_unix_nano: NOW,
        severity_number: SeverityNumber::Fatal.into(),
        severity_text: "FATAL".to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(body.to_owned())) }),
        attributes: vec![
            attribute("process.pid", Value::IntValue(4711)),
            attribute("m8refsvr.exit.run_time", Value::DoubleValue(1.5)),
            attribute("m8refsvr.exit.core_dumped", Value::BoolValue(true)),
        ],
        event_name: "m8refsvr.process.exit".to_owned(),
        ..LogRecord::default()
    };
    let scope = InstrumentationScope { name: "m8refsvr".to_owned(), ..InstrumentationScope::default() };
    let scope_logs =
        vec![ScopeLogs { scope: Some(scope), log_records: vec![record], ..ScopeLogs::default() }];
    let attributes = vec![attribute("service.name", Value::StringValue("svc".to_owned()))];
    let resource = Some(Resource { attributes, ..Resource::default() });
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }],
    }
}

/// The same as the receiver shows it.
pub(crate) fn record(body: &str) -> Record {
    Record {
        resource: owned(&[("service.name", "svc")]),
        scope: "m8refsvr".to_owned(),
        event: "m8refsvr.process.exit".to_owned(),
        time_ns: START,
        observed_ns: NOW,
        severity: 21,
        severity_text: "FATAL".to_owned(),
        body: body.to_owned(),
        attributes: owned(&[
            ("process.pid", "4711"),
            ("m8refsvr.exit.run_time", "1.5"),
            ("m8refsvr.exit.core_dumped", "true"),
        ]),
    }
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

pub(crate) fn point(
    value: number_data_point::Value,
    start: u64,
    attributes: Vec<KeyValue>,
) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: NOW,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

pub(crate) fn metric(name: &str, unit: &str, description: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        description: description.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

pub(crate) fn scope(name: &str, version: &str, metrics: Vec<Metric>) -> ScopeMetrics {
    let scope = InstrumentationScope {
        name: name.to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }
}

pub(crate) fn owned(attributes: &[(&str, &str)]) -> BTreeMap<String, String> {
    attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
