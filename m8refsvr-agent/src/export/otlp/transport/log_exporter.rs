//! Log records by the exporter of opentelemetry-otlp, the same over both protocols.

use std::sync::Arc;

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{ExporterBuildError, LogExporter};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    logs::{LogBatch, LogExporter as _, SdkLogRecord},
};

/// Log records, each with its scope.
pub(crate) type Records = Arc<Vec<(SdkLogRecord, InstrumentationScope)>>;

/// Gives an exporter of log records their resource.
pub(super) fn of_resource(
    exporter: Result<LogExporter, ExporterBuildError>,
    resource: &Resource,
) -> Result<Arc<LogExporter>, ExporterBuildError> {
    let mut exporter = exporter?;
    exporter.set_resource(resource);
    Ok(Arc::new(exporter))
}

/// Exports log records; an error where the client has no exporter of log records.
pub(super) async fn export_records(exporter: Option<&LogExporter>, records: &Records) -> OTelSdkResult {
    let Some(exporter) = exporter else { return Err(OTelSdkError::AlreadyShutdown) };
    let records: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
    exporter.export(LogBatch::new(&records)).await
}
