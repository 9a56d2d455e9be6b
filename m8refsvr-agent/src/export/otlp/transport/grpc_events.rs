//! Details of failed exports that the gRPC exporters of opentelemetry-otlp only log: the receiver's message, its
//! status details, and the number of rejected points. They may hold a secret, so the exporters keep them out of their
//! errors. A layer of `tracing` gives these events to the export that runs in the same task.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::Context, registry::LookupSpan};

/// The crate whose events these are.
const TARGET: &str = "opentelemetry-otlp";
const EVENTS: [&str; 4] = [
    "TonicMetricsClient.ExportFailed",
    "TonicMetricsClient.PartialSuccess",
    "TonicLogsClient.ExportFailed",
    "TonicLogsClient.PartialSuccess",
];

tokio::task_local! {
    static HEARD: Arc<Mutex<Event>>;
}

/// The details that were logged during an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// The receiver's message.
    pub(super) message: String,
    /// `google.rpc.Status` of a failure, encoded.
    pub(super) details: Vec<u8>,
    /// Data points or log records that were rejected.
    pub(super) rejected: u64,
}

/// Runs an export, and returns its outcome and the details. They are empty unless [`layer`] is part of the subscriber.
pub(super) async fn heard<F: Future>(export: F) -> (F::Output, Event) {
    let event = Arc::<Mutex<Event>>::default();
    let outcome = HEARD.scope(Arc::clone(&event), export).await;
    let event = std::mem::take(&mut *event.lock().unwrap_or_else(PoisonError::into_inner));
    (outcome, event)
}

/// The layer. It gets these events at any level of the log.
pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    Listener.with_filter(filter_fn(is_heard).with_max_level_hint(LevelFilter::DEBUG))
}

fn is_heard(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET && EVENTS.contains(&metadata.name())
}

struct Listener;

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        // Outside of an export the event is ignored.
        let _ = HEARD.try_with(|heard| {
            event.record(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
        });
    }
}

impl Visit for Event {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "grpc_message" | "error_message" => self.message = value.into(),
            "grpc_details" => self.details = bytes_of(value),
            _ => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if matches!(field.name(), "rejected_data_points" | "rejected_log_records") {
            self.rejected = value.try_into().unwrap_or_default();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Parses bytes in the format of Rust's `Debug`, `[8, 14]`. Empty for any other text.
fn bytes_of(shown: &str) -> Vec<u8> {
    let numbers = shown.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
    numbers.split(", ").map(str::parse).collect::<Result<_, _>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn bytes_are_read_as_they_are_shown() {
        for bytes in [&[][..], &[0], &[8, 14, 255]] {
            assert_eq!(bytes_of(&format!("{bytes:?}")), bytes);
        }
        for nonsense in ["", "[", "[1, 256]", "b\"a\"", "[a]"] {
            assert_eq!(bytes_of(nonsense), b"", "{nonsense}");
        }
    }

    #[tokio::test]
    async fn an_export_hears_its_own_events_and_no_others() {
        let subscriber = tracing_subscriber::registry().with(layer());
        let _guard = tracing::subscriber::set_default(subscriber);
        let ((), event) = heard(async {
            tracing::warn!(
                name: "TonicMetricsClient.PartialSuccess",
                target: "opentelemetry-otlp",
                rejected_data_points = 7_i64,
                error_message = "too old",
            );
            tracing::warn!(name: "other", target: "opentelemetry-otlp", rejected_data_points = 9_i64);
        })
        .await;
        assert_eq!(event, Event { message: "too old".into(), details: Vec::new(), rejected: 7 });
        // Outside of an export nothing happens.
        tracing::warn!(name: "TonicMetricsClient.ExportFailed", target: "opentelemetry-otlp", grpc_message = "");
    }
}
