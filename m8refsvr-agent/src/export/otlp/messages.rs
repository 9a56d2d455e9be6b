//! Messages of opentelemetry-proto for what the SDK can't export: a resource of its own for each process. Pure
//! functions of a report, which know nothing of the network. Histograms counted in the kernel belong here too: the SDK
//! can't take them either.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{InstrumentationScope, KeyValue},
    metrics::v1::{
        AggregationTemporality, Gauge, Metric as MetricMessage, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point,
    },
};
use prost::Message as _;
use tokio::time::Instant;

use super::{
    instruments::{Names, SCOPE},
    resource::{Resource, int, text},
    user_names::{LOOKUP_TIMEOUT, UserNames},
};
use crate::metrics::{
    aggregate::Value,
    catalogue::{CATALOGUE, Kind, Metric, Points, Vocabulary},
    report::{ProcessReport, Report},
};

/// The largest size of a request before compression. By default, the servers of tonic and grpc-js accept no more.
pub const LIMIT: usize = 4 << 20;
/// The usual size of a request, far below [`LIMIT`]. The messages of one request then stay in the CPU caches while they
/// are made, encoded and compressed. Memory usage does not grow with the number of processes.
pub(super) const SIZE: usize = 256 << 10;
const GROUP: &str = "m8refsvr.group";
const PID: &str = "process.pid";
const EXECUTABLE: &str = "process.executable.name";
/// Bytes before a resource in a request: its tag and its length.
const PREFIX: usize = 6;

/// Makes the messages of processes with series of their own.
#[derive(Debug)]
pub struct ProcessMessages {
    names: Names,
    resource: Resource,
    identity: Place,
    users: UserNames,
}

/// Where to put the attributes by which a backend tells processes apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// On the resource only.
    #[default]
    Resource,
    /// On each data point too, for backends that make labels of data point attributes only.
    Points,
}

impl ProcessMessages {
    /// With these names, and the resource of the agent.
    pub fn new(names: Names, resource: Resource, identity: Place) -> Self {
        Self { names, resource, identity, users: UserNames::default() }
    }

    /// Looks up the user names for the resources of a report. A name not found within a second stays a number.
    pub async fn prepare(&self, report: &Report) {
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        let processes = report.processes.iter().flatten();
        for attributes in processes.filter_map(|process| process.attributes.as_ref()) {
            if let (Some(uid), None) = (attributes.owner_uid, attributes.owner.get()) {
                // Set nowhere else.
                let _ = attributes.owner.set(self.users.name(uid, deadline).await);
            }
        }
    }

    /// The requests of a report, one after the other, each below `limit` bytes. There are none if no process has
    /// series of its own.
    pub fn requests<'a>(&'a self, report: &'a Report, limit: usize) -> Requests<'a> {
        Requests { messages: self, report, limit, next: 0, left: None }
    }

    /// A request with the agent's resource only. Some receivers don't take an empty body for a request.
    pub fn without_metrics(resource: &Resource) -> ExportMetricsServiceRequest {
        let of_resource =
            ResourceMetrics { resource: Some(resource.message(Vec::new())), ..ResourceMetrics::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }
    }
}

/// Requests, each made on demand: only one at a time is in memory.
#[derive(Debug)]
pub struct Requests<'a> {
    messages: &'a ProcessMessages,
    report: &'a Report,
    limit: usize,
    /// Index of the next process.
    next: usize,
    /// A process that no longer fitted into the previous request.
    left: Option<ResourceMetrics>,
}

impl Requests<'_> {
    fn next_resource(&mut self) -> Option<ResourceMetrics> {
        if !self.messages.names.has(Vocabulary::Otel) {
            return None;
        }
        let process = self.report.processes.as_ref()?.get(self.next)?;
        self.next += 1;
        Some(of_process(process, self.report, self.messages))
    }
}

impl Iterator for Requests<'_> {
    type Item = ExportMetricsServiceRequest;

    fn next(&mut self) -> Option<ExportMetricsServiceRequest> {
        let mut length = 0;
        let mut resource_metrics = Vec::new();
        while let Some(resource) = self.left.take().or_else(|| self.next_resource()) {
            let of_resource = PREFIX + resource.encoded_len();
            if length > 0 && length + of_resource >= self.limit {
                self.left = Some(resource);
                break;
            }
            length += of_resource;
            resource_metrics.push(resource);
        }
        (!resource_metrics.is_empty()).then_some(ExportMetricsServiceRequest { resource_metrics })
    }
}

/// All metrics of a process, with its identifying attributes on the resource.
fn of_process(process: &ProcessReport, report: &Report, messages: &ProcessMessages) -> ResourceMetrics {
    let at = nanoseconds(report.at);
    // The clock may have been set back since then.
    let since = nanoseconds(process.since).min(at);
    let group = report.groups.get(process.group).map(|group| text(GROUP, &group.name));
    let mut common = Vec::new();
    if messages.identity == Place::Points {
        common.extend(group.clone());
        common.push(int(PID, process.pid.into()));
        common.push(text(EXECUTABLE, executable(process)));
    }
    let metrics = CATALOGUE.iter().filter(|metric| metric.vocabulary == Vocabulary::Otel);
    let metrics = metrics.filter_map(|metric| {
        let Points::Each(points) = metric.points else { return None };
        let points = points.iter().filter_map(|point| {
            let own = point.attribute.map(|(name, value)| text(name, value));
            Some(NumberDataPoint {
                attributes: own.into_iter().chain(common.iter().cloned()).collect(),
                start_time_unix_nano: if metric.kind == Kind::Gauge { 0 } else { since },
                time_unix_nano: at,
                value: Some(number(process.values.get(point.statistic)?)),
                ..NumberDataPoint::default()
            })
        });
        message(metric, points.collect())
    });
    let scope = InstrumentationScope {
        name: SCOPE.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let of_scope = ScopeMetrics { scope: Some(scope), metrics: metrics.collect(), ..ScopeMetrics::default() };
    ResourceMetrics {
        // On the resource, as on each point it would make exports twice as large.
        resource: Some(messages.resource.message(group.into_iter().chain(described(process)).collect())),
        scope_metrics: vec![of_scope],
        ..ResourceMetrics::default()
    }
}

/// The attributes that identify and describe a process, as in the semantic conventions.
fn described(process: &ProcessReport) -> Vec<KeyValue> {
    let mut all = vec![
        int(PID, process.pid.into()),
        text("process.creation.time", &humantime::format_rfc3339_millis(process.created).to_string()),
        text(EXECUTABLE, executable(process)),
    ];
    let Some(attributes) = &process.attributes else { return all };
    all.extend(attributes.parent_pid.map(|pid| int("process.parent_pid", pid.into())));
    let texts = [
        ("process.executable.path", attributes.executable_path.as_deref()),
        ("process.command", attributes.command.as_deref()),
        ("process.command_line", attributes.command_line.as_deref()),
        ("process.owner", attributes.owner.get().map(AsRef::as_ref)),
        ("process.linux.cgroup", attributes.cgroup.as_deref()),
        ("container.id", attributes.container_id.as_deref()),
    ];
    all.extend(texts.into_iter().filter_map(|(name, value)| Some(text(name, value?))));
    all
}

/// File name of its executable, taken from the path in the same resource. So a resource stays the same when the
/// process executes another executable that matches.
fn executable(process: &ProcessReport) -> &str {
    let path = process.attributes.as_ref().and_then(|attributes| attributes.executable_path.as_deref());
    path.and_then(|path| path.rsplit('/').next()).unwrap_or(&process.executable)
}

/// A metric with these data points; `None` without data points.
fn message(metric: &Metric, data_points: Vec<NumberDataPoint>) -> Option<MetricMessage> {
    if data_points.is_empty() {
        return None;
    }
    let sum = |data_points, is_monotonic| {
        let aggregation_temporality = AggregationTemporality::Cumulative.into();
        Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
    };
    let data = match metric.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points }),
        Kind::UpDownCounter => sum(data_points, false),
        Kind::Counter => sum(data_points, true),
        // The SDK exports the only histogram.
        Kind::Histogram => return None,
    };
    Some(MetricMessage {
        name: metric.name.into(),
        unit: metric.unit.into(),
        description: metric.description.into(),
        data: Some(data),
        ..MetricMessage::default()
    })
}

fn number(value: Value) -> number_data_point::Value {
    match value {
        // OTLP can't carry larger values.
        Value::Int(value) => number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX)),
        Value::Double(value) => number_data_point::Value::AsDouble(value),
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
