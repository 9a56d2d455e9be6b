//! gRPC: tonic's channel over our connector, which opentelemetry-otlp's exporters and the generated client share.

use std::sync::Arc;

use http::uri::Scheme;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, RetryPolicy, WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter as _},
};
use tonic::{
    Code, Request, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

use super::{
    Compression, Records, Rejected, Target, USER_AGENT,
    connections::Connections,
    connector::{Connector, with_scheme},
    error::{ExportError, one_line},
    export_records,
    grpc_events::{self, Event},
    of_resource,
};

/// What the exporter says of a status, before its code.
const CODE: &str = "gRPC code: ";

/// The clients of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Grpc {
    metrics: Arc<MetricExporter>,
    messages: MetricsServiceClient<Channel>,
    metadata: MetadataMap,
    logs: Option<Arc<LogExporter>>,
}

impl Grpc {
    pub(super) fn new(
        target: &Target,
        connector: Connector,
        connections: Connections,
        resource: Option<&Resource>,
    ) -> Result<Self, ExporterBuildError> {
        let channel = channel(target, connector, connections);
        let metadata = MetadataMap::from_headers(target.headers.clone());
        let exporter = MetricExporter::builder()
            .with_tonic()
            .with_channel(channel.clone())
            .with_interceptor(only(metadata.clone()))
            .with_retry_policy(RetryPolicy::disabled())
            .with_timeout(target.timeout)
            .with_temporality(Temporality::Cumulative);
        let mut messages = MetricsServiceClient::new(channel.clone());
        let logs = LogExporter::builder()
            .with_tonic()
            .with_channel(channel)
            .with_interceptor(only(metadata.clone()))
            .with_retry_policy(RetryPolicy::disabled())
            .with_timeout(target.timeout);
        let (exporter, logs) = match target.compression {
            Compression::Gzip => {
                messages = messages
                    .send_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Gzip);
                let gzip = opentelemetry_otlp::Compression::Gzip;
                (exporter.with_compression(gzip), logs.with_compression(gzip))
            }
            Compression::None => (exporter, logs),
        };
        let logs = resource.map(|resource| of_resource(logs.build(), resource)).transpose()?;
        Ok(Self { metrics: Arc::new(exporter.build()?), messages, metadata, logs })
    }

    /// Exports log records.
    pub(super) async fn export_logs(self, records: Records) -> Result<Rejected, ExportError> {
        outcome_of(export_records(self.logs.as_deref(), &records)).await
    }

    /// Exports what the SDK collected.
    pub(super) async fn export(self, metrics: Arc<ResourceMetrics>) -> Result<Rejected, ExportError> {
        outcome_of(self.metrics.export(&metrics)).await
    }

    /// Sends a message.
    pub(super) async fn send(
        mut self,
        message: ExportMetricsServiceRequest,
    ) -> Result<Rejected, ExportError> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata;
        let response = self.messages.export(request).await;
        response
            .map(|response| response.into_inner().into())
            .map_err(|status| ExportError::of_status(&status))
    }
}

/// What came of an export by one of opentelemetry-otlp's exporters.
async fn outcome_of(export: impl Future<Output = OTelSdkResult>) -> Result<Rejected, ExportError> {
    match grpc_events::heard(export).await {
        (Ok(()), event) => Ok(Rejected { points: event.rejected, message: one_line(&event.message) }),
        (Err(error), event) => Err(failure(&error, event)),
    }
}

/// Connects when it is used. Its tasks can be ended.
fn channel(target: &Target, connector: Connector, connections: Connections) -> Channel {
    // The connector speaks TLS; tonic's own is not built in, and would refuse https.
    let endpoint = Endpoint::from(with_scheme(target.endpoint.clone(), Scheme::HTTP))
        .origin(target.endpoint.clone())
        .executor(connections);
    let endpoint = endpoint.clone().user_agent(USER_AGENT).unwrap_or(endpoint);
    endpoint.connect_with_connector_lazy(connector)
}

/// Has requests carry these headers alone. The exporter reads the environment by itself, and would neither take an empty
/// variable for one that is not set, nor keep values out of the libraries' logs.
fn only(metadata: MetadataMap) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |mut request| {
        *request.metadata_mut() = metadata.clone();
        Ok(request)
    }
}

/// What the exporter said, with what it keeps to its log.
fn failure(error: &OTelSdkError, event: Event) -> ExportError {
    let OTelSdkError::InternalFailure(text) = error else {
        return ExportError::Connection(error.to_string());
    };
    let Some((_, status)) = text.split_once(CODE) else { return ExportError::Connection(text.clone()) };
    // What follows the code are causes on this side: there was no answer.
    match status.split_once(": ") {
        Some((_, causes)) => ExportError::Connection(causes.into()),
        None => ExportError::of_status(&Status::with_details(
            code_named(status),
            event.message,
            event.details.into(),
        )),
    }
}

/// The code of this name in tonic.
fn code_named(name: &str) -> Code {
    let mut codes = (0..=16).map(Code::from_i32);
    codes.find(|code| format!("{code:?}") == name).unwrap_or(Code::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str) -> ExportError {
        failure(&OTelSdkError::InternalFailure(text.into()), Event::default())
    }

    #[test]
    fn a_code_is_an_answer_and_causes_are_not() {
        let answered = failed("TonicMetricsClient export failed with gRPC code: ResourceExhausted");
        let expected =
            ExportError::Grpc { code: Code::ResourceExhausted, message: String::new(), after: None };
        assert_eq!(answered, expected);
        let local = failed("TonicMetricsClient export failed with gRPC code: Unavailable: tcp: refused");
        assert_eq!(local, ExportError::Connection("tcp: refused".into()));
        assert_eq!(failed("anything"), ExportError::Connection("anything".into()));
    }

    #[test]
    fn every_code_has_its_name() {
        for code in (0..=16).map(Code::from_i32) {
            assert_eq!(code_named(&format!("{code:?}")), code);
        }
    }
}
