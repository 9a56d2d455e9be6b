//! What a receiver says about a request that it accepted.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;

use super::error::one_line;

/// What the receiver rejected of a request that it accepted: OTLP's partial success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// The number of data points, or of log records.
    pub points: u64,
    /// The reason. Where nothing was rejected it is a warning.
    pub message: String,
}

impl Rejected {
    /// Adds what was rejected of another request of the same export.
    pub(crate) fn add(&mut self, other: Self) {
        self.points += other.points;
        if !other.message.is_empty() {
            self.message = other.message;
        }
    }
}

impl From<ExportMetricsServiceResponse> for Rejected {
    fn from(response: ExportMetricsServiceResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self {
            points: u64::try_from(partial.rejected_data_points).unwrap_or_default(),
            message: one_line(&partial.error_message),
        }
    }
}
