//! Requests of a size that every receiver takes.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::InstrumentationScope,
    metrics::v1::{Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
    resource::v1::Resource,
};
use prost::Message as _;

/// The largest message that gRPC servers take unless they are told otherwise, uncompressed.
pub const LIMIT: usize = 4 << 20;
/// Bytes that the lengths around a metric and around all of them take at most.
const FRAME: usize = 6;

/// As few requests as hold all metrics, none longer than `limit` bytes; a metric that is too long alone is continued
/// in the next request.
pub fn requests(
    resource: &Resource,
    scope: &InstrumentationScope,
    metrics: Vec<Metric>,
    limit: usize,
) -> Vec<ExportMetricsServiceRequest> {
    let request = |metrics: Vec<Metric>| ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope.clone()),
                metrics,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    };
    let room = limit.saturating_sub(request(Vec::new()).encoded_len() + 3 * FRAME);
    let mut full = Vec::new();
    let mut metrics_of_one = Vec::new();
    let mut used = 0;
    let mut rest: Vec<Metric> = metrics;
    rest.reverse();
    while let Some(mut metric) = rest.pop() {
        let length = metric.encoded_len() + FRAME;
        if used + length <= room {
            used += length;
            metrics_of_one.push(metric);
            continue;
        }
        // What does not even fit alone is halved, unless it is but one point.
        if length > room
            && let Some(second) = second_half(&mut metric)
        {
            rest.push(second);
            rest.push(metric);
            continue;
        }
        if !metrics_of_one.is_empty() {
            full.push(request(std::mem::take(&mut metrics_of_one)));
        }
        used = length;
        metrics_of_one.push(metric);
    }
    if !metrics_of_one.is_empty() {
        full.push(request(metrics_of_one));
    }
    full
}

/// Takes the second half of its points away from a metric; `None` when there is nothing to halve.
fn second_half(metric: &mut Metric) -> Option<Metric> {
    let points = points(metric)?;
    let middle = points.len() / 2;
    if middle == 0 {
        return None;
    }
    let second = points.split_off(middle);
    let first = std::mem::take(points);
    let mut other = metric.clone();
    *self::points(metric)? = first;
    *self::points(&mut other)? = second;
    Some(other)
}

fn points(metric: &mut Metric) -> Option<&mut Vec<NumberDataPoint>> {
    match metric.data.as_mut()? {
        Data::Gauge(gauge) => Some(&mut gauge.data_points),
        Data::Sum(sum) => Some(&mut sum.data_points),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::{Gauge, number_data_point::Value};

    use super::*;

    fn metric(name: &str, points: i64) -> Metric {
        let point =
            |value| NumberDataPoint { value: Some(Value::AsInt(value)), ..NumberDataPoint::default() };
        Metric {
            name: name.into(),
            data: Some(Data::Gauge(Gauge { data_points: (0..points).map(point).collect() })),
            ..Metric::default()
        }
    }

    fn values(requests: &mut [ExportMetricsServiceRequest]) -> Vec<(String, i64)> {
        let metrics = requests.iter_mut().flat_map(|request| {
            request.resource_metrics.iter_mut().flat_map(|resource| {
                resource.scope_metrics.iter_mut().flat_map(|scope| scope.metrics.iter_mut())
            })
        });
        metrics
            .flat_map(|metric| {
                let name = metric.name.clone();
                points(metric).unwrap().clone().into_iter().map(move |point| match point.value {
                    Some(Value::AsInt(value)) => (name.clone(), value),
                    _ => (name.clone(), -1),
                })
            })
            .collect()
    }

    fn split(metrics: Vec<Metric>, limit: usize) -> Vec<ExportMetricsServiceRequest> {
        requests(&Resource::default(), &InstrumentationScope::default(), metrics, limit)
    }

    #[test]
    fn what_fits_goes_in_one_request_and_nothing_in_none() {
        assert_eq!(split(vec![metric("a", 3), metric("b", 2)], LIMIT).len(), 1);
        assert!(split(Vec::new(), LIMIT).is_empty());
    }

    #[test]
    fn every_point_arrives_once_and_in_order_and_no_request_is_too_long() {
        let metrics = vec![metric("a", 1), metric("long", 1000), metric("b", 50)];
        let mut expected = vec![("a".to_owned(), 0)];
        expected.extend((0..1000).map(|value| ("long".to_owned(), value)));
        expected.extend((0..50).map(|value| ("b".to_owned(), value)));
        for limit in [200, 300, 1000, 5000] {
            let mut requests = split(metrics.clone(), limit);
            assert!(requests.len() > 1);
            assert!(requests.iter().all(|request| request.encoded_len() <= limit), "{limit}");
            assert_eq!(values(&mut requests), expected, "{limit}");
        }
    }

    #[test]
    fn requests_are_well_filled() {
        let metrics: Vec<Metric> = (0..100).map(|_| metric("same", 10)).collect();
        let whole = split(metrics.clone(), LIMIT)[0].encoded_len();
        assert!(split(metrics, whole / 4).len() <= 6);
    }

    #[test]
    fn a_point_that_is_too_long_alone_is_sent_all_the_same() {
        let requests = split(vec![metric("a name that is longer than the limit", 1), metric("b", 1)], 40);
        assert_eq!(requests.len(), 2);
    }
}
