//! The environment variables for exporting that have no flag.

use std::{ffi::OsString, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::error::ExportSettingsError;
use crate::{
    cli::{values::strict_truth, variables::LOGS_EXPORTER},
    export::otlp::Compression,
};

/// Headers that describe the body or the connection, which the agent sets itself.
const OWN_HEADERS: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "grpc-encoding",
    "grpc-timeout",
    "host",
    "te",
    "transfer-encoding",
    "user-agent",
];
/// A day, in milliseconds.
const LONGEST_TIMEOUT: u64 = 86_400_000;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const SDK_DISABLED: &str = "OTEL_SDK_DISABLED";

/// A standard variable without effect: its name, values that ask for what the agent does anyway, and a note for the
/// user.
type Ignored = (&'static str, &'static [&'static str], &'static str);

/// Variables about metrics and about the SDK as a whole. Those about traces are left out: they are for other programs
/// on the same machine.
const IGNORED: &[Ignored] = &[
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", &["cumulative"], "totals are always cumulative"),
    ("OTEL_EXPORTER_OTLP_TEMPORALITY_PREFERENCE", &["cumulative"], "totals are always cumulative"),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        &["explicit_bucket_histogram"],
        "histograms have explicit buckets",
    ),
    ("OTEL_METRICS_EXEMPLAR_FILTER", &["always_off", "trace_based"], "without traces there are no exemplars"),
    ("OTEL_METRIC_EXPORT_TIMEOUT", &[], "OTEL_EXPORTER_OTLP_TIMEOUT is read"),
    ("OTEL_LOG_LEVEL", &[], "LOG_LEVEL is read"),
    ("OTEL_CONFIG_FILE", &[], "settings are flags and variables"),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", &[], "settings are flags and variables"),
    ("OTEL_EXPORTER_PROMETHEUS_HOST", &[], "nothing is served to Prometheus"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", &[], "nothing is served to Prometheus"),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", &[], "all attributes are sent"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", &[], "attributes are sent whole"),
];

/// Variables about log records, for agents that export exits.
const IGNORED_OF_LOGS: &[Ignored] = &[
    ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &[], WITH_METRICS),
    ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", &[], WITH_METRICS),
    ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", &[], WITH_METRICS),
    ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", &[], WITH_METRICS),
    ("OTEL_EXPORTER_OTLP_LOGS_INSECURE", &[], WITH_METRICS),
    ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", &[], WITH_METRICS),
    ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", &[], WITH_METRICS),
    ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", &[], WITH_METRICS),
    ("OTEL_BLRP_SCHEDULE_DELAY", &[], "exits are sent within 200 ms"),
    ("OTEL_BLRP_EXPORT_TIMEOUT", &[], "OTEL_EXPORTER_OTLP_TIMEOUT is read"),
    ("OTEL_BLRP_MAX_QUEUE_SIZE", &[], "the queue has a fixed size"),
    ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", &[], "batches have a fixed size"),
    ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", &[], "all attributes are sent"),
    ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", &[], "attributes are sent whole"),
];
const WITH_METRICS: &str = "exits go where metrics go";

/// Reads variables by a function that stands for the environment. An empty variable counts as not set.
pub(super) struct ExportEnv<F>(pub(super) F);

impl<F: Fn(&str) -> Option<OsString>> ExportEnv<F> {
    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Result<Option<String>, ExportSettingsError> {
        let value = self.0(name).filter(|value| !value.is_empty()).map(OsString::into_string);
        value.transpose().map_err(|_| wrong(name, "it is not UTF-8"))
    }

    /// The value of a variable of OTLP, by the end of its name, and the whole name. The one for metrics wins over the
    /// one for all signals.
    pub(super) fn otlp(&self, end: &str) -> Result<Option<(String, String)>, ExportSettingsError> {
        for name in [format!("OTEL_EXPORTER_OTLP_METRICS_{end}"), format!("OTEL_EXPORTER_OTLP_{end}")] {
            if let Some(value) = self.get(&name)? {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    /// The headers of requests with metrics, and a list of them with masked values for the user.
    pub(super) fn headers(&self) -> Result<(HeaderMap, String), ExportSettingsError> {
        match self.otlp("HEADERS")? {
            Some((name, text)) => headers(&text).map_err(|reason| wrong(&name, &reason)),
            None => Ok((HeaderMap::new(), "none".into())),
        }
    }

    /// The headers of requests with log records: their own, else those for all signals, else those of `metrics`.
    pub(super) fn log_headers(&self, metrics: &HeaderMap) -> Result<HeaderMap, ExportSettingsError> {
        for name in ["OTEL_EXPORTER_OTLP_LOGS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"] {
            if let Some(text) = self.get(name)? {
                return headers(&text).map(|(headers, _)| headers).map_err(|reason| wrong(name, &reason));
            }
        }
        Ok(metrics.clone())
    }

    /// The variable, with its value, that turns the export of metrics off; and a remark about a value that is not
    /// known.
    pub(super) fn off_by(&self) -> Result<(Option<&'static str>, Option<String>), ExportSettingsError> {
        let possible = "metrics are exported by OTLP, or not at all";
        let is_none = self.is_none("OTEL_METRICS_EXPORTER", possible)? == Some(true);
        let by_exporter = is_none.then_some("OTEL_METRICS_EXPORTER=none");
        let Some(text) = self.get(SDK_DISABLED)? else { return Ok((by_exporter, None)) };
        Ok(match strict_truth(&text) {
            Some(true) => (Some("OTEL_SDK_DISABLED=true"), None),
            Some(false) => (by_exporter, None),
            // The specification: a value that is not known counts as false.
            None => {
                (by_exporter, Some(format!("{SDK_DISABLED}={text}: counts as false, give true or false")))
            }
        })
    }

    /// Whether process exits are exported; `None` where the variable is not set.
    pub(super) fn exits(&self) -> Result<Option<bool>, ExportSettingsError> {
        Ok(self
            .is_none(LOGS_EXPORTER, "process exits are exported by OTLP, or not at all")?
            .map(|is_none| !is_none))
    }

    /// Whether the variable of an exporter says `none`, and not `otlp`.
    fn is_none(&self, name: &str, possible: &str) -> Result<Option<bool>, ExportSettingsError> {
        let Some(text) = self.get(name)? else { return Ok(None) };
        match text.trim().to_ascii_lowercase().as_str() {
            "otlp" => Ok(Some(false)),
            "none" => Ok(Some(true)),
            _ => Err(wrong(name, &format!("{text:?} is not possible: give otlp or none; {possible}"))),
        }
    }

    /// Whether an endpoint without a scheme is reached without TLS, with the name of the variable.
    pub(super) fn insecure(&self) -> Result<Option<(String, bool)>, ExportSettingsError> {
        let Some((name, text)) = self.otlp("INSECURE")? else { return Ok(None) };
        match strict_truth(&text) {
            Some(is_insecure) => Ok(Some((name, is_insecure))),
            None => Err(wrong(&name, &format!("{text:?} is neither: give true or false"))),
        }
    }

    /// The standard variables that are set but have no effect, each with its note.
    pub(super) fn ignored(&self, exits: bool) -> Vec<String> {
        let of_logs = IGNORED_OF_LOGS.iter().filter(|_| exits);
        let all = IGNORED.iter().chain(of_logs);
        let is_ignored = |(name, meant, _): &&Ignored| {
            let value = self.0(name).unwrap_or_default();
            let value = value.to_string_lossy();
            !value.is_empty() && !meant.iter().any(|meant| value.trim().eq_ignore_ascii_case(meant))
        };
        all.filter(is_ignored).map(|(name, _, note)| format!("{name} ({note})")).collect()
    }

    /// The time that one export may take.
    pub(super) fn timeout(&self) -> Result<Duration, ExportSettingsError> {
        let Some((name, text)) = self.otlp("TIMEOUT")? else { return Ok(DEFAULT_TIMEOUT) };
        let milliseconds = text.trim().parse().ok().filter(|it| (1..=LONGEST_TIMEOUT).contains(it));
        let reason = || format!("{text:?} is no timeout: give milliseconds, from 1 to {LONGEST_TIMEOUT}");
        milliseconds.map(Duration::from_millis).ok_or_else(|| wrong(&name, &reason()))
    }

    pub(super) fn compression(&self) -> Result<Compression, ExportSettingsError> {
        let Some((name, text)) = self.otlp("COMPRESSION")? else { return Ok(Compression::Gzip) };
        match text.trim().to_ascii_lowercase().as_str() {
            "gzip" => Ok(Compression::Gzip),
            "none" => Ok(Compression::None),
            _ => Err(wrong(&name, &format!("{text:?} is unknown: give gzip or none"))),
        }
    }
}

fn wrong(name: &str, reason: &str) -> ExportSettingsError {
    ExportSettingsError::Variable { name: name.into(), reason: reason.into() }
}

fn headers(text: &str) -> Result<(HeaderMap, String), String> {
    let mut headers = HeaderMap::new();
    let mut masked = Vec::new();
    for text in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let (name, value) = header(text).ok_or("give name=value,name=value, percent-encoded where needed")?;
        if OWN_HEADERS.contains(&name.as_str()) {
            return Err(format!("the agent sets {name} by itself: leave it out"));
        }
        masked.push(format!("{name}=***"));
        headers.insert(name, value);
    }
    Ok((headers, masked.join(",")))
}

fn header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}
