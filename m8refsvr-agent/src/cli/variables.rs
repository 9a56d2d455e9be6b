//! The environment variables behind the flags, once, as data: README's table and `--help` say the same. And where a value
//! came from, so that an error names what the user wrote.

use std::{collections::BTreeMap, error::Error as _, ffi::OsString};

use clap::{
    ArgMatches, Command,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

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
/// By which exporter process exits leave.
pub(crate) const LOGS_EXPORTER: &str = "OTEL_LOGS_EXPORTER";

/// Variables whose values are written otherwise than their flags': `settings` reads them.
const WRITTEN_OTHERWISE: [&str; 2] = [METRIC_EXPORT_INTERVAL, LOGS_EXPORTER];

/// Has each flag take the first of its variables that is set, and name them all in its help. One that is empty is not
/// set, as the specification of OpenTelemetry wants it.
pub(super) fn bind(command: Command, variable: impl Fn(&str) -> Option<OsString>) -> Command {
    VARIABLES.iter().fold(command, |command, (flag, names)| {
        command.mut_arg(flag, |arg| {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let arg = arg.help(format!("{help} [env: {}]", names.join(", "))).hide_env(true);
            match first_set(flag, &variable) {
                Some(name) if !WRITTEN_OTHERWISE.contains(&name) => arg.env(name),
                _ => arg,
            }
        })
    })
}

fn names_of(flag: &str) -> &'static [&'static str] {
    VARIABLES.iter().find(|(known, _)| *known == flag).map(|(_, names)| *names).unwrap_or_default()
}

fn first_set(flag: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
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

/// What stood for a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Flag,
    Variable(&'static str),
}

/// Where the values of flags that have variables came from; of those that are not in it, from nowhere.
#[derive(Clone, Debug, Default)]
pub struct Given(BTreeMap<&'static str, Origin>);

impl Given {
    /// A flag wins over its variables, as [`bind`] has it.
    pub fn new(matches: &ArgMatches, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let origin = |flag| match matches.value_source(flag) {
            Some(ValueSource::CommandLine) => Some(Origin::Flag),
            _ => first_set(flag, &variable).map(Origin::Variable),
        };
        Self(VARIABLES.iter().filter_map(|&(flag, _)| Some((flag, origin(flag)?))).collect())
    }

    /// Whether it was on the command line.
    pub(crate) fn is_flag(&self, flag: &str) -> bool {
        self.0.get(flag) == Some(&Origin::Flag)
    }

    /// The variable that stood for it.
    pub(crate) fn variable(&self, flag: &str) -> Option<&'static str> {
        match self.0.get(flag) {
            Some(Origin::Variable(name)) => Some(name),
            _ => None,
        }
    }

    /// Its name, as the user gave it.
    pub(crate) fn name(&self, flag: &str) -> String {
        self.variable(flag).map_or_else(|| as_typed(flag), str::to_owned)
    }

    /// The name of another flag, as the user would have given it who gave this one.
    pub(crate) fn name_beside(&self, flag: &str, of: &str) -> String {
        match self.variable(flag).and_then(|name| names_of(flag).iter().position(|known| *known == name)) {
            Some(place) => names_of(of).get(place).map_or_else(|| as_typed(of), |&name| name.to_owned()),
            None => as_typed(of),
        }
    }
}

fn as_typed(flag: &str) -> String {
    format!("--{}", flag.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn given(arguments: &[&str], variables: &[(&str, &str)]) -> Given {
        let matches = Cli::command().get_matches_from(["agent"].iter().chain(arguments));
        Given::new(&matches, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn a_setting_is_named_as_the_user_gave_it() {
        let both = [("USE_TLS", "true"), ("CA_CERT_PATH", ""), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/a")];
        let by_variables = given(&[], &both);
        assert_eq!(by_variables.name("tls"), "USE_TLS");
        assert_eq!(by_variables.name("ca_cert"), "OTEL_EXPORTER_OTLP_CERTIFICATE");
        assert_eq!(by_variables.name("agent_host"), "--agent-host");
        let by_flag = given(&["--tls"], &both);
        assert_eq!((by_flag.name("tls").as_str(), by_flag.is_flag("tls")), ("--tls", true));
    }

    #[test]
    fn what_is_missing_beside_a_setting_is_named_in_the_same_way() {
        let named = |variable| given(&[], &[(variable, "/a")]).name_beside("client_cert", "client_key");
        assert_eq!(named("CLIENT_CERT_PATH"), "CLIENT_KEY_PATH");
        let of_metrics = named("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE");
        assert_eq!(of_metrics, "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY");
        let by_flag = given(&["--client-cert", "/a"], &[]);
        assert_eq!(by_flag.name_beside("client_cert", "client_key"), "--client-key");
    }

    #[test]
    fn a_value_that_is_written_otherwise_is_not_given_to_clap() {
        let set = |name: &str| (name == METRIC_EXPORT_INTERVAL).then(|| "1000".into());
        let command = bind(Cli::command(), set);
        assert_eq!(command.get_arguments().filter_map(clap::Arg::get_env).count(), 0);
        assert_eq!(given(&[], &[(METRIC_EXPORT_INTERVAL, "1000")]).name("interval"), METRIC_EXPORT_INTERVAL);
    }
}
