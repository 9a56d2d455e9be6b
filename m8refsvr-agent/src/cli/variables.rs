//! The environment variables behind the flags, once, as data: README's table and `--help` say the same.

use std::ffi::OsString;

use clap::Command;

/// A flag, and the variables that stand in for it, the one that wins first.
pub(super) const VARIABLES: &[(&str, &[&str])] = &[
    ("interval", &["COLLECTION_INTERVAL"]),
    ("process", &["PROCESS_NAME"]),
    ("proc_root", &["HOST_PROC"]),
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

/// Has each flag take the first of its variables that is set, and name them all in its help. One that is empty is not
/// set, as the specification of OpenTelemetry wants it.
pub(super) fn bind(command: Command, variable: impl Fn(&str) -> Option<OsString>) -> Command {
    VARIABLES.iter().fold(command, |command, (flag, names)| {
        command.mut_arg(flag, |arg| {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let arg = arg.help(format!("{help} [env: {}]", names.join(", "))).hide_env(true);
            match names.iter().find(|name| variable(name).is_some_and(|value| !value.is_empty())) {
                Some(name) => arg.env(*name),
                None => arg,
            }
        })
    })
}
