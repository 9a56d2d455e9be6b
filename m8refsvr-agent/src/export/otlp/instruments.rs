//! Collects the sums of the groups and the agent's own metrics with the SDK. Each metric of the catalogue is an
//! instrument, and all observe the same report. Knows nothing of the network.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue, StringValue,
    metrics::{AsyncInstrument, Histogram, Meter, MeterProvider as _},
};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    metrics::{
        Instrument, InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Stream, Temporality,
        data::ResourceMetrics, reader::MetricReader,
    },
};

use super::resource::Resource;
use crate::{
    metrics::{
        aggregate::{Aggregate, Value},
        catalogue::{CATALOGUE, ChurnMetric, Kind, Metric, Number, Points, Vocabulary},
        churn::Churn,
        report::{GroupReport, Report},
    },
    model::exit::Exit,
};

pub(super) const SCOPE: &str = "m8refsvr";
/// Cardinality limit of the agent's own metrics: they have fewer BPF programs and drop reasons.
const SERIES_OF_THE_AGENT: usize = 64;
/// Bucket bounds of the collection duration, seconds: from a collection of a few processes to one that hangs.
const BOUNDS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Which names are exported, besides the agent's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Those of the semantic conventions.
    pub otel: bool,
    /// Those of the earlier plugin.
    pub instana: bool,
}

impl Names {
    pub(super) fn has(self, vocabulary: Vocabulary) -> bool {
        match vocabulary {
            Vocabulary::Otel => self.otel,
            Vocabulary::Instana => self.instana,
            Vocabulary::Agent => true,
        }
    }
}

/// The export of one collection.
#[derive(Debug)]
pub struct Payload {
    /// For the metrics that the SDK can't export.
    pub report: Report,
    /// The metrics that the SDK collected.
    pub metrics: Arc<ResourceMetrics>,
}

pub struct Instruments {
    names: Names,
    resource: Resource,
    /// The number of groups in a report.
    groups: usize,
    meters: Meters,
}

impl fmt::Debug for Instruments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Instruments").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The SDK's state. Totals start when it is made.
struct Meters {
    made: SystemTime,
    reader: Reader,
    /// The report that callbacks read.
    report: Shared,
    duration: Histogram<f64>,
    /// Kept because instruments work only as long as it exists.
    _provider: SdkMeterProvider,
}

/// The report being collected; `None` between two collections.
type Shared = Arc<Mutex<Option<Arc<Report>>>>;

impl Instruments {
    /// Must be called when the agent starts, because totals start then.
    pub fn new(names: Names, resource: &Resource, groups: usize) -> Self {
        let meters = Meters::new(names, resource, groups);
        Self { names, resource: resource.clone(), groups, meters }
    }

    /// Collects a report once. The SDK documents no reason why this could fail.
    pub fn collect(&mut self, report: Report) -> Result<Payload, OTelSdkError> {
        // The clock was set back so far that totals would end before they start: new series begin.
        if report.at < self.meters.made {
            self.meters = Meters::new(self.names, &self.resource, self.groups);
        }
        let report = Arc::new(report);
        self.meters.duration.record(report.agent.collection.as_secs_f64(), &[]);
        self.meters.set(Some(Arc::clone(&report)));
        // A new one each time: reusing one costs more, because the SDK searches it for existing metrics.
        let mut metrics = ResourceMetrics::default();
        let outcome = self.meters.reader.collect(&mut metrics);
        self.meters.set(None);
        outcome?;
        // No callback has it any more.
        let report = Arc::try_unwrap(report).unwrap_or_else(|report| (*report).clone());
        Ok(Payload { report, metrics: Arc::new(metrics) })
    }
}

impl Meters {
    fn new(names: Names, resource: &Resource, groups: usize) -> Self {
        let reader =
            Reader(Arc::new(ManualReader::builder().with_temporality(Temporality::Cumulative).build()));
        let provider = SdkMeterProvider::builder()
            .with_resource(resource.for_sdk())
            .with_reader(reader.clone())
            .with_view(move |instrument: &Instrument| limit(instrument, groups))
            .build();
        let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
        let meter = provider.meter_with_scope(scope);
        let report = Shared::default();
        let mut duration = None;
        for metric in CATALOGUE.iter().filter(|metric| names.has(metric.vocabulary)) {
            if metric.kind == Kind::Histogram {
                duration = Some(histogram(&meter, metric));
            } else {
                observable(&meter, metric, &report);
            }
        }
        // Never the default: the catalogue has one histogram.
        let duration = duration.unwrap_or_else(|| meter.f64_histogram("").build());
        Self { made: SystemTime::now(), reader, report, duration, _provider: provider }
    }

    fn set(&self, report: Option<Arc<Report>>) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

/// The SDK's reader, which collects on demand. Shared because the provider takes one for itself.
#[derive(Clone, Debug)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// Cardinality limit of a metric. By default the SDK sums up series beyond 2,000. It allocates for the whole limit at
/// once.
fn limit(instrument: &Instrument, groups: usize) -> Option<Stream> {
    let metric = CATALOGUE.iter().find(|metric| metric.name == instrument.name())?;
    let series = match metric.points {
        Points::Each(points) | Points::Group(points) => groups * points.len(),
        Points::Churn(ChurnMetric::Exits) => groups * Exit::REASONS.len(),
        Points::Churn(_) => groups,
        Points::Agent(..) => SERIES_OF_THE_AGENT,
    };
    // The SDK refuses only a limit of 0.
    Stream::builder().with_cardinality_limit(series.max(1)).build().ok()
}

fn histogram(meter: &Meter, metric: &'static Metric) -> Histogram<f64> {
    meter
        .f64_histogram(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .with_boundaries(BOUNDS.to_vec())
        .build()
}

/// Makes the instrument of a metric. Its callback observes the values in the report.
fn observable(meter: &Meter, metric: &'static Metric, report: &Shared) {
    /// The meter has a method for each kind and type of value.
    macro_rules! make {
        ($method:ident, $number:ident) => {{
            let _ = meter
                .$method(metric.name)
                .with_unit(metric.unit)
                .with_description(metric.description)
                .with_callback(callback(metric, report, $number))
                .build();
        }};
    }
    match (metric.kind, metric.number()) {
        (Kind::Counter, Number::Int) => make!(u64_observable_counter, unsigned),
        (Kind::Counter, Number::Float) => make!(f64_observable_counter, float),
        (Kind::UpDownCounter, Number::Int) => make!(i64_observable_up_down_counter, signed),
        (Kind::UpDownCounter, Number::Float) => make!(f64_observable_up_down_counter, float),
        (Kind::Gauge, Number::Int) => make!(u64_observable_gauge, unsigned),
        (Kind::Gauge, Number::Float) => make!(f64_observable_gauge, float),
        // A histogram is not observed: it records.
        (Kind::Histogram, _) => {}
    }
}

fn callback<M: 'static>(
    metric: &'static Metric,
    report: &Shared,
    number: fn(Value) -> M,
) -> impl Fn(&dyn AsyncInstrument<M>) + Send + Sync + 'static {
    let report = Arc::clone(report);
    move |instrument| {
        let report = report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(report) = report {
            observe(metric, &report, &mut |attributes, value| instrument.observe(number(value), attributes));
        }
    }
}

/// Passes the data points of a metric to `record`. Their attributes are sorted by name: for attributes in another
/// order, the SDK would keep both orders.
fn observe(metric: &Metric, report: &Report, record: &mut dyn FnMut(&[KeyValue], Value)) {
    match metric.points {
        Points::Each(points) | Points::Group(points) => {
            let mut of = |group: Option<&GroupReport>, values: &Aggregate| {
                for point in points {
                    let own = point.attribute.map(|(name, value)| KeyValue::new(name, value));
                    if let Some(value) = values.get(point.statistic) {
                        record(&attributes(group, own), value);
                    }
                }
            };
            // The earlier plugin has neither groups nor processes.
            if metric.vocabulary == Vocabulary::Instana {
                return of(None, &report.all);
            }
            let is_each = matches!(metric.points, Points::Each(_)) && report.processes.is_some();
            for group in &report.groups {
                let values = if is_each { group.overflow.as_ref() } else { Some(&group.values) };
                if let Some(values) = values {
                    of(Some(group), values);
                }
            }
        }
        Points::Churn(metric) => {
            for group in &report.groups {
                for (own, count) in churn(metric, &group.churn) {
                    record(&attributes(Some(group), own), Value::Int(count));
                }
            }
        }
        Points::Agent(metric, names) => {
            for (values, value) in report.agent.get(metric) {
                let own = names.iter().zip(values).map(|(&name, value)| KeyValue::new(name, value));
                record(&attributes(None, own), value);
            }
        }
    }
}

fn attributes(group: Option<&GroupReport>, own: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
    let name =
        |group: &GroupReport| KeyValue::new("m8refsvr.group", StringValue::from(Arc::clone(&group.name)));
    let mut attributes: Vec<KeyValue> = own.into_iter().chain(group.map(name)).collect();
    attributes.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    attributes
}

/// The data points of a churn metric, with their attributes.
fn churn(metric: ChurnMetric, churn: &Churn) -> Vec<(Vec<KeyValue>, u64)> {
    let one = |count| vec![(Vec::new(), count)];
    match metric {
        ChurnMetric::Starts => one(churn.starts),
        ChurnMetric::Restarts => one(churn.restarts),
        ChurnMetric::Selected => one(churn.selected),
        ChurnMetric::Deselected => one(churn.deselected),
        ChurnMetric::Exits => {
            let reason = |reason| KeyValue::new("m8refsvr.exit.reason", reason);
            churn.exits_by_reason().into_iter().map(|(name, count)| (vec![reason(name)], count)).collect()
        }
    }
}

/// At most `i64::MAX`, which is what OTLP can carry: the SDK turns larger values into 0.
fn unsigned(value: Value) -> u64 {
    match value {
        Value::Int(value) => value.min(i64::MAX as u64),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no metric mixes both")]
        Value::Double(value) => value as u64,
    }
}

fn signed(value: Value) -> i64 {
    i64::try_from(unsigned(value)).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "no metric mixes both")]
fn float(value: Value) -> f64 {
    match value {
        Value::Int(value) => value as f64,
        Value::Double(value) => value,
    }
}
