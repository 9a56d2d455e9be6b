//! The environment variables that stand in for flags, once, as data: README's table and `--help` have the same.

use std::{error::Error as _, ffi::OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::logging::escape::in_line;

/// A flag, and the variables that stand in for it, the one that wins first.
pub(super) const VARIABLES: &[(&str, &[&str])] = &[
    ("interval", &["COLLECTION_INTERVAL", METRIC_EXPORT_INTERVAL]),
    ("process", &["PROCESS_NAME"]),
    ("proc_root", &["HOST_PROC"]),
    ("export_exits", &[LOGS_EXPORTER]),
    ("protocol", &["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]),
    ("endpoint", &[METRICS_ENDPOINT, "OTEL_EXPORTER_OTLP_ENDPOINT"]),
    ("agent_host", &["INSTANA_AGENT_HOST"]),
    ("agent_port", &["INSTANA_AGENT_PORT"]),
    ("tls", &["USE_TLS"]),
    (
        "ca_cert",
        &["CA_CERT_PATH", "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
    ),
    (
        "client_cert",
        &[
            "CLIENT_CERT_PATH",
            "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ],
    ),
    (
        "client_key",
        &["CLIENT_KEY_PATH", "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"],
    ),
    ("log_level", &["LOG_LEVEL"]),
];

/// The endpoint of metrics alone, which is taken as it is.
pub(crate) const METRICS_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
/// The interval in milliseconds.
pub(crate) const METRIC_EXPORT_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
/// Which exporter process exits have.
pub(crate) const LOGS_EXPORTER: &str = "OTEL_LOGS_EXPORTER";

/// Variables whose values are written otherwise than their flags': `config` reads them.
pub(super) const WRITTEN_OTHERWISE: [&str; 2] = [METRIC_EXPORT_INTERVAL, LOGS_EXPORTER];

pub(super) fn names_of(flag: &str) -> &'static [&'static str] {
    VARIABLES.iter().find(|(known, _)| *known == flag).map(|(_, names)| *names).unwrap_or_default()
}

pub(super) fn first_set(flag: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    let is_set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
    names_of(flag).iter().copied().find(is_set)
}

/// The error of a variable's value, by that variable's name; clap knows it by its flag's alone.
pub(super) fn reworded(error: clap::Error, variable: impl Fn(&str) -> Option<OsString>) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let name = if error.kind() == ErrorKind::InvalidUtf8 {
        let is_no_text = |name: &&str| variable(name).is_some_and(|value| value.to_str().is_none());
        VARIABLES.iter().filter_map(|(flag, _)| first_set(flag, &variable)).find(is_no_text)
    } else {
        let flag = text(ContextKind::InvalidArg).and_then(|usage| usage.strip_prefix("--"));
        let end = |usage: &str| usage.find([' ', '[', '=']).unwrap_or(usage.len());
        flag.and_then(|usage| first_set(&usage[..end(usage)].replace('-', "_"), &variable))
    };
    let Some(name) = name else { return error };
    let reason = match (error.get(ContextKind::ValidValue), error.source()) {
        (Some(ContextValue::Strings(values)), _) => format!("give one of {}", values.join(", ")),
        (_, Some(reason)) => reason.to_string(),
        _ if error.kind() == ErrorKind::InvalidUtf8 => "it is not UTF-8".into(),
        _ => return error,
    };
    // What looks like a URL was meant for another variable, and may hold a password.
    let value = text(ContextKind::InvalidValue).map(|value| match value {
        value if value.contains(['@', '?']) => "=***".to_owned(),
        value => format!("={value}"),
    });
    let message = in_line(&format!("{name}{}: {reason}", value.unwrap_or_default()));
    clap::Error::raw(error.kind(), message + "\n")
}
