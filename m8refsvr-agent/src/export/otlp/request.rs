//! Requests of a size that every receiver takes. A point has its place in one as soon as it is told, and a metric is
//! compressed as soon as it ends, so that nothing is kept, measured and written in turn; what stands around points are
//! opentelemetry-proto's messages without them.

use opentelemetry_proto::tonic::{
    common::v1::InstrumentationScope,
    metrics::v1::{self, AggregationTemporality, ResourceMetrics, ScopeMetrics, Sum},
    resource::v1::Resource,
};
use prost::Message as _;

use super::{
    compression::{Body, Compression, LARGE, Message},
    point::{Point, begin, framed},
};
use crate::catalogue::{Kind, Metric};

/// The largest message that gRPC servers take unless they are told otherwise, uncompressed.
pub const LIMIT: usize = 4 << 20;
/// Bytes that stand before a message within another at most: a key, and a length of up to 35 bits.
const FRAME: usize = 6;

/// The fields that hold messages, by their numbers in `opentelemetry/proto/metrics/v1/metrics.proto`, and the first in
/// `opentelemetry/proto/collector/metrics/v1/metrics_service.proto`.
mod field {
    /// `ExportMetricsServiceRequest.resource_metrics`.
    pub(super) const RESOURCE_METRICS: u32 = 1;
    /// `ResourceMetrics.scope_metrics`.
    pub(super) const SCOPE_METRICS: u32 = 2;
    /// `ScopeMetrics.metrics`.
    pub(super) const METRICS: u32 = 2;
    /// `Metric.gauge`.
    pub(super) const GAUGE: u32 = 5;
    /// `Metric.sum`.
    pub(super) const SUM: u32 = 7;
    /// `Gauge.data_points` and `Sum.data_points`.
    pub(super) const DATA_POINTS: u32 = 1;
}

/// As few requests as hold all points, none longer than its limit: a metric for which there is no more room is
/// continued in the next one. Only a point that is too long alone is sent all the same.
#[derive(Debug)]
pub(super) struct Requests {
    /// What a `ResourceMetrics` has before its metrics.
    resource: Vec<u8>,
    /// What a `ScopeMetrics` has before its metrics.
    scope: Vec<u8>,
    compression: Compression,
    limit: usize,
    full: Vec<Message>,
    /// The metrics of the next request, once there are some.
    metrics: Option<Body>,
    /// Bytes of that request at most, uncompressed.
    length: usize,
    /// The metric that is being told.
    metric: Around,
    /// Its points for the next request.
    points: Vec<u8>,
}

/// What stands around the points of a metric.
#[derive(Debug, Default)]
struct Around {
    /// Fields of the `Metric` before its data.
    before: Vec<u8>,
    /// The field of its data.
    data: u32,
    /// Fields of the data behind the points.
    behind: Vec<u8>,
}

impl Requests {
    pub(super) fn new(
        resource: &Resource,
        scope: &InstrumentationScope,
        compression: Compression,
        limit: usize,
    ) -> Self {
        let resource = ResourceMetrics { resource: Some(resource.clone()), ..ResourceMetrics::default() };
        let scope = ScopeMetrics { scope: Some(scope.clone()), ..ScopeMetrics::default() };
        let (resource, scope) = (resource.encode_to_vec(), scope.encode_to_vec());
        let length = without_metrics(&resource, &scope);
        Self {
            resource,
            scope,
            compression,
            limit,
            full: Vec::new(),
            metrics: None,
            length,
            metric: Around::default(),
            points: Vec::with_capacity(LARGE),
        }
    }

    /// The points that follow are of this metric. One without points is left out.
    pub(super) fn metric(&mut self, metric: &Metric) {
        self.end_metric();
        self.metric = Around::of(metric);
    }

    /// A point of the metric.
    pub(super) fn point(&mut self, point: &Point<'_>) {
        let length = point.length();
        let around = self.metric.before.len() + self.metric.behind.len() + 2 * FRAME;
        if self.length + around + self.points.len() + framed(length) > self.limit {
            self.end_request();
        }
        begin(field::DATA_POINTS, length, &mut self.points);
        point.append_to(&mut self.points);
    }

    /// All requests; none where there was no point.
    pub(super) fn end(mut self) -> Vec<Message> {
        self.end_request();
        self.full
    }

    fn end_metric(&mut self) {
        if self.points.is_empty() {
            return;
        }
        let Around { before, data, behind } = &self.metric;
        let length = self.points.len() + behind.len();
        let mut front = Vec::new();
        begin(field::METRICS, before.len() + framed(length), &mut front);
        front.extend_from_slice(before);
        begin(*data, length, &mut front);
        let metrics = self.metrics.get_or_insert_with(|| Body::new(self.compression));
        for part in [&front, &self.points, behind] {
            metrics.append(part);
            self.length += part.len();
        }
        self.points.clear();
    }

    fn end_request(&mut self) {
        self.end_metric();
        let Some(metrics) = self.metrics.take() else { return };
        let without = without_metrics(&self.resource, &self.scope);
        let of_scope = self.scope.len() + self.length - without;
        self.length = without;
        let mut before = Vec::with_capacity(without);
        begin(field::RESOURCE_METRICS, self.resource.len() + framed(of_scope), &mut before);
        before.extend_from_slice(&self.resource);
        begin(field::SCOPE_METRICS, of_scope, &mut before);
        before.extend_from_slice(&self.scope);
        self.full.push(metrics.end(before));
    }
}

impl Around {
    fn of(metric: &Metric) -> Self {
        let before = v1::Metric {
            name: metric.name.into(),
            description: metric.description.into(),
            unit: metric.unit.into(),
            ..v1::Metric::default()
        };
        let sum = Sum {
            data_points: Vec::new(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: metric.kind == Kind::Counter,
        };
        let (data, behind) = match metric.kind {
            Kind::Gauge => (field::GAUGE, Vec::new()),
            Kind::UpDownCounter | Kind::Counter => (field::SUM, sum.encode_to_vec()),
        };
        Self { before: before.encode_to_vec(), data, behind }
    }
}

/// Bytes that stand before the metrics of a request at most.
fn without_metrics(resource: &[u8], scope: &[u8]) -> usize {
    2 * FRAME + resource.len() + scope.len()
}

#[cfg(test)]
pub(super) mod tests {
    use opentelemetry_proto::tonic::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        metrics::v1::{Gauge, NumberDataPoint, metric::Data, number_data_point},
    };
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        catalogue::{Points, Vocabulary},
        export::otlp::{
            compression::tests::plain,
            point::tests::{Told, told},
            resource::text,
        },
        figures::Value,
    };

    /// The metrics of a request, which must be as prost would have encoded it.
    pub(in super::super) fn decoded(request: &Message) -> Vec<v1::Metric> {
        let request = plain(request);
        let message = ExportMetricsServiceRequest::decode(request.clone()).unwrap();
        assert_eq!(message.encode_to_vec(), request);
        let scopes = message.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        scopes.flat_map(|scope| scope.metrics).collect()
    }

    pub(in super::super) fn points_of(metric: v1::Metric) -> Vec<NumberDataPoint> {
        match metric.data {
            Some(Data::Gauge(gauge)) => gauge.data_points,
            Some(Data::Sum(sum)) => sum.data_points,
            other => panic!("{other:?}"),
        }
    }

    fn metric(name: &'static str, kind: Kind) -> Metric {
        let points = Points::Each(&[]);
        Metric { name, vocabulary: Vocabulary::Otel, kind, unit: "1", description: "what it is", points }
    }

    fn who() -> (Resource, InstrumentationScope) {
        let resource = Resource { attributes: vec![text("service.name", "m8refsvr")], ..Resource::default() };
        (resource, InstrumentationScope { name: "m8refsvr".into(), ..InstrumentationScope::default() })
    }

    fn of_whom(
        (resource, scope): &(Resource, InstrumentationScope),
        metrics: &[(Metric, Vec<Told>)],
        compression: Compression,
        limit: usize,
    ) -> Vec<Message> {
        let mut requests = Requests::new(resource, scope, compression, limit);
        for (metric, points) in metrics {
            requests.metric(metric);
            points.iter().for_each(|told| told.tell(|point| requests.point(point)));
        }
        requests.end()
    }

    fn split(metrics: &[(Metric, Vec<Told>)], limit: usize) -> Vec<Message> {
        of_whom(&who(), metrics, Compression::Gzip, limit)
    }

    fn lengths(requests: &[Message]) -> Vec<usize> {
        requests.iter().map(|request| plain(request).len()).collect()
    }

    /// The same as the protocol's own message.
    fn message(metrics: &[(Metric, Vec<Told>)]) -> ExportMetricsServiceRequest {
        let (resource, scope) = who();
        let metric = |(metric, points): &(Metric, Vec<Told>)| {
            let data_points = points.iter().map(Told::message).collect();
            v1::Metric {
                name: metric.name.into(),
                description: metric.description.into(),
                unit: metric.unit.into(),
                data: Some(match metric.kind {
                    Kind::Gauge => Data::Gauge(Gauge { data_points }),
                    Kind::UpDownCounter | Kind::Counter => Data::Sum(Sum {
                        data_points,
                        aggregation_temporality: AggregationTemporality::Cumulative.into(),
                        is_monotonic: metric.kind == Kind::Counter,
                    }),
                }),
                ..v1::Metric::default()
            }
        };
        let metrics = metrics.iter().map(metric).collect();
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
        let resource_metrics =
            vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
        ExportMetricsServiceRequest { resource_metrics }
    }

    /// So many points, with values that count up.
    fn counting(name: &'static str, points: u64) -> (Metric, Vec<Told>) {
        let told = |value| Told { attributes: [vec![], vec![]], since: 0, at: 1, value: Value::Int(value) };
        (metric(name, Kind::Gauge), (0..points).map(told).collect())
    }

    fn values(requests: &[Message]) -> Vec<(String, i64)> {
        let values = requests.iter().flat_map(decoded).flat_map(|metric| {
            let name = metric.name.clone();
            points_of(metric).into_iter().map(move |point| match point.value {
                Some(number_data_point::Value::AsInt(value)) => (name.clone(), value),
                _ => (name.clone(), -1),
            })
        });
        values.collect()
    }

    #[test]
    fn what_fits_goes_in_one_request_and_nothing_in_none() {
        assert_eq!(split(&[counting("a", 3), counting("none", 0), counting("b", 2)], LIMIT).len(), 1);
        assert!(split(&[], LIMIT).is_empty());
        assert!(split(&[counting("none", 0)], LIMIT).is_empty());
    }

    #[test]
    fn every_point_arrives_once_and_in_order_and_no_request_is_too_long() {
        let metrics = [counting("a", 1), counting("long", 1000), counting("b", 50)];
        let mut expected = vec![("a".to_owned(), 0)];
        expected.extend((0..1000).map(|value| ("long".to_owned(), value)));
        expected.extend((0..50).map(|value| ("b".to_owned(), value)));
        for limit in [200, 300, 1000, 5000] {
            let requests = split(&metrics, limit);
            assert!(requests.len() > 1);
            assert!(lengths(&requests).into_iter().all(|length| length <= limit), "{limit}");
            assert_eq!(values(&requests), expected, "{limit}");
        }
    }

    #[test]
    fn requests_are_well_filled() {
        let metrics: Vec<_> = (0..100).map(|_| counting("same", 10)).collect();
        let whole = lengths(&split(&metrics, LIMIT))[0];
        assert!(split(&metrics, whole / 4).len() <= 5);
    }

    #[test]
    fn a_point_that_is_too_long_alone_is_sent_all_the_same() {
        let requests = split(&[counting("a name that is longer than the limit", 1), counting("b", 1)], 40);
        assert_eq!(requests.len(), 2);
    }

    /// Metrics with points.
    fn metrics() -> impl Strategy<Value = Vec<(Metric, Vec<Told>)>> {
        let kinds = [Kind::Gauge, Kind::UpDownCounter, Kind::Counter];
        let one = (0..kinds.len(), vec(told(), 1..20));
        let one = one.prop_map(move |(kind, points)| (metric("name", kinds[kind]), points));
        vec(one, 1..6)
    }

    proptest! {
        #[test]
        fn requests_have_the_bytes_of_the_protocols_own_messages_and_split_ones_the_same_points(
            metrics in metrics(),
            limit in 300..20_000_usize,
        ) {
            let whole: Vec<_> = split(&metrics, usize::MAX).iter().map(plain).collect();
            prop_assert_eq!(whole, [message(&metrics).encode_to_vec()]);
            let requests = split(&metrics, limit);
            let requests: Vec<_> = requests.iter().map(|it| (plain(it).len(), decoded(it))).collect();
            for (length, metrics) in &requests {
                let points: usize = metrics.iter().cloned().map(|metric| points_of(metric).len()).sum();
                prop_assert!(*length <= limit || points == 1, "{length} bytes, {points} points");
            }
            let sent = requests.into_iter().flat_map(|(_, metrics)| metrics).flat_map(points_of);
            // Numbers that are none are equal to nothing.
            let sent: Vec<_> = sent.map(|point| point.encode_to_vec()).collect();
            let told = metrics.iter().flat_map(|(_, points)| points);
            let told: Vec<_> = told.map(|told| told.message().encode_to_vec()).collect();
            prop_assert_eq!(sent, told);
        }

        #[test]
        fn receivers_find_the_same_bytes_in_compressed_requests_as_in_others(
            metrics in metrics(),
            // Of a resource, by the length of what it says; 65,535 bytes are a block.
            length in prop_oneof![0..1000_usize, 64_000..70_000_usize, 130_000..200_000_usize],
            limit in prop_oneof![300..20_000_usize, 200_000..300_000_usize, Just(usize::MAX)],
        ) {
            let (_, scope) = who();
            let said = "long ".repeat(length / 5);
            let resource = Resource { attributes: vec![text("said", &said)], ..Resource::default() };
            let who = (resource, scope);
            let requests = |compression| of_whom(&who, &metrics, compression, limit);
            let (compressed, others) = (requests(Compression::Gzip), requests(Compression::None));
            prop_assert!(compressed.iter().all(|it| it.compression() == Compression::Gzip));
            prop_assert!(others.iter().all(|it| it.compression() == Compression::None));
            let plain = |requests: Vec<Message>| requests.iter().map(plain).collect::<Vec<_>>();
            prop_assert_eq!(plain(compressed), plain(others));
        }
    }
}
