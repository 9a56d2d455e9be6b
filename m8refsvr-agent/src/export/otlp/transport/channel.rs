//! gRPC: one tonic channel over our connector, shared by the exporters of opentelemetry-otlp and the generated client.

use std::sync::Arc;

use http::uri::Scheme;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, RetryPolicy, WithExportConfig, WithTonicConfig,
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
    connections::Connections,
    connector::{Connector, with_scheme},
    error::{ExportError, one_line},
    grpc_events::{self, Event},
    log_exporter::{Records, export_records, of_resource},
    partial_success::Rejected,
    receiver::{Compression, Receiver, USER_AGENT},
};

/// In the text of an error of the exporters, the name of a status code follows this.
const CODE: &str = "gRPC code: ";

/// The clients of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Grpc {
    metrics: Arc<MetricExporter>,
    messages: MetricsServiceClient<Channel>,
    metadata: MetadataMap,
    /// `None` in a client of metrics.
    logs: Option<Arc<LogExporter>>,
}

impl Grpc {
    pub(super) fn new(
        receiver: &Receiver,
        connector: Connector,
        connections: Connections,
        resource: Option<&Resource>,
    ) -> Result<Self, ExporterBuildError> {
        let channel = channel(receiver, connector, connections);
        let metrics = MetricExporter::builder().with_tonic().with_temporality(Temporality::Cumulative);
        let logs = LogExporter::builder().with_tonic();
        let (metrics, logs) = (configured(metrics, receiver, &channel), configured(logs, receiver, &channel));
        let mut messages = MetricsServiceClient::new(channel);
        if receiver.compression == Compression::Gzip {
            messages = messages
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip);
        }
        let metadata = MetadataMap::from_headers(receiver.headers.clone());
        let logs = resource.map(|resource| of_resource(logs.build(), resource)).transpose()?;
        Ok(Self { metrics: Arc::new(metrics.build()?), messages, metadata, logs })
    }

    pub(super) async fn export_logs(self, records: Records) -> Result<Rejected, ExportError> {
        outcome_of(export_records(self.logs.as_deref(), &records)).await
    }

    pub(super) async fn export(self, metrics: Arc<ResourceMetrics>) -> Result<Rejected, ExportError> {
        outcome_of(self.metrics.export(&metrics)).await
    }

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

/// The outcome of an export by an exporter of opentelemetry-otlp.
async fn outcome_of(export: impl Future<Output = OTelSdkResult>) -> Result<Rejected, ExportError> {
    match grpc_events::heard(export).await {
        (Ok(()), event) => Ok(Rejected { points: event.rejected, message: one_line(&event.message) }),
        (Err(error), event) => Err(failure(&error, event)),
    }
}

/// An exporter over this channel, with the receiver's headers, timeout and compression.
fn configured<B: WithTonicConfig + WithExportConfig>(
    builder: B,
    receiver: &Receiver,
    channel: &Channel,
) -> B {
    let builder = builder
        .with_channel(channel.clone())
        .with_interceptor(only(MetadataMap::from_headers(receiver.headers.clone())))
        .with_retry_policy(RetryPolicy::disabled())
        .with_timeout(receiver.timeout);
    match receiver.compression {
        Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
        Compression::None => builder,
    }
}

/// A channel that connects when it is used, and whose tasks can be cancelled.
fn channel(receiver: &Receiver, connector: Connector, connections: Connections) -> Channel {
    // The connector does TLS. tonic's own TLS is not built in, and so tonic refuses https.
    let endpoint = Endpoint::from(with_scheme(receiver.endpoint.clone(), Scheme::HTTP))
        .origin(receiver.endpoint.clone())
        .executor(connections);
    let endpoint = endpoint.clone().user_agent(USER_AGENT).unwrap_or(endpoint);
    endpoint.connect_with_connector_lazy(connector)
}

/// An interceptor that replaces all headers by these. The exporter adds headers from the environment. It would use a
/// variable that is empty, and its values would not be marked as sensitive.
fn only(metadata: MetadataMap) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |mut request| {
        *request.metadata_mut() = metadata.clone();
        Ok(request)
    }
}

/// The error of an exporter, with the details that it only logged.
fn failure(error: &OTelSdkError, event: Event) -> ExportError {
    let OTelSdkError::InternalFailure(text) = error else {
        return ExportError::Connection(error.to_string());
    };
    let Some((_, status)) = text.split_once(CODE) else { return ExportError::Connection(text.clone()) };
    // Causes follow the code only where they are local: the receiver did not answer.
    match status.split_once(": ") {
        Some((_, causes)) => ExportError::Connection(causes.into()),
        None => ExportError::of_status(&Status::with_details(
            code_named(status),
            event.message,
            event.details.into(),
        )),
    }
}

/// The code with this name in tonic.
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
