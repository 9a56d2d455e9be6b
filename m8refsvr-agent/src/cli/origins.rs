//! Where values came from, so that an error names what the user wrote, and `check` shows each setting with its origin.

use std::{collections::BTreeMap, ffi::OsString, fmt};

use clap::{ArgMatches, Command, parser::ValueSource};
use serde::{Serialize, Serializer};

use super::variables::{VARIABLES, WRITTEN_OTHERWISE, first_set, names_of};
use crate::logging::escape::without_secrets;

/// Flags about one document alone, which are no settings of the agent.
const OF_ONE_DOCUMENT: [&str; 3] = ["once", "no_export", "sample"];

/// Where the value of a flag came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Variable(&'static str),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => out.write_str("flag"),
            Self::Variable(name) => write!(out, "variable {name}"),
            Self::Default => out.write_str("default"),
        }
    }
}

/// A setting in force, as it is shown: without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its flag, or the variable of a setting without one.
    pub name: String,
    pub value: String,
    #[serde(serialize_with = "in_words")]
    pub origin: Origin,
}

/// Where the values of flags that have variables came from; those with their defaults are not in it.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<&'static str, Origin>);

impl Origins {
    /// A flag wins over its variables, and the first of them that is set over the others.
    pub fn new(matches: &ArgMatches, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let origin = |flag| match source(matches, flag) {
            Some(ValueSource::CommandLine) => Some(Origin::Flag),
            _ => first_set(flag, &variable).map(Origin::Variable),
        };
        Self(VARIABLES.iter().filter_map(|&(flag, _)| Some((flag, origin(flag)?))).collect())
    }

    /// The values of variables as flags of the command, for those that it takes.
    pub(super) fn as_flags(
        &self,
        command: &Command,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Vec<OsString> {
        let is_taken = |flag: &str| command.get_arguments().any(|arg| arg.get_id() == flag);
        let as_flag = |(flag, origin): (&&str, &Origin)| {
            let Origin::Variable(name) = origin else { return None };
            if !is_taken(flag) || WRITTEN_OTHERWISE.contains(name) {
                return None;
            }
            let mut text = OsString::from(as_typed(flag));
            text.push("=");
            text.push(variable(name)?);
            Some(text)
        };
        self.0.iter().filter_map(as_flag).collect()
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

    /// The values of all flags that a command has in common with `all`, in the order of `all`. `typed` are those of the
    /// command line alone, `matches` those with variables too.
    pub(super) fn settings(
        &self,
        all: &Command,
        typed: &ArgMatches,
        matches: &ArgMatches,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Vec<Setting> {
        let setting = |flag: &str| {
            let origin = match (self.variable(flag), source(typed, flag)) {
                (Some(name), _) => Origin::Variable(name),
                (None, Some(ValueSource::CommandLine)) => Origin::Flag,
                _ => Origin::Default,
            };
            let value = match origin {
                Origin::Variable(name) => variable(name)?.to_string_lossy().into_owned(),
                _ => {
                    let values = matches.try_get_raw(flag).ok()??;
                    values.map(|it| it.to_string_lossy()).collect::<Vec<_>>().join(", ")
                }
            };
            let is_address = ["endpoint", "agent_host"].contains(&flag);
            let value = if is_address { without_secrets(&value) } else { value };
            Some(Setting { name: as_typed(flag), value, origin })
        };
        let ids = all.get_arguments().map(|arg| arg.get_id().as_str());
        ids.filter(|flag| !OF_ONE_DOCUMENT.contains(flag)).filter_map(setting).collect()
    }
}

/// Where a value came from; `None` for a flag that the command does not take.
fn source(matches: &ArgMatches, flag: &str) -> Option<ValueSource> {
    matches.try_contains_id(flag).ok()?;
    matches.value_source(flag)
}

fn in_words<S: Serializer>(origin: &Origin, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(origin)
}

fn as_typed(flag: &str) -> String {
    format!("--{}", flag.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::{Cli, variables::METRIC_EXPORT_INTERVAL};

    fn origins(arguments: &[&str], variables: &[(&str, &str)]) -> Origins {
        let matches = Cli::command().get_matches_from(["agent"].iter().chain(arguments));
        Origins::new(&matches, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn a_setting_is_named_as_the_user_gave_it() {
        let both = [("USE_TLS", "true"), ("CA_CERT_PATH", ""), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/a")];
        let by_variables = origins(&[], &both);
        assert_eq!(by_variables.name("tls"), "USE_TLS");
        assert_eq!(by_variables.name("ca_cert"), "OTEL_EXPORTER_OTLP_CERTIFICATE");
        assert_eq!(by_variables.name("agent_host"), "--agent-host");
        let by_flag = origins(&["--tls"], &both);
        assert_eq!((by_flag.name("tls").as_str(), by_flag.is_flag("tls")), ("--tls", true));
    }

    #[test]
    fn what_is_missing_beside_a_setting_is_named_in_the_same_way() {
        let named = |variable| origins(&[], &[(variable, "/a")]).name_beside("client_cert", "client_key");
        assert_eq!(named("CLIENT_CERT_PATH"), "CLIENT_KEY_PATH");
        let of_metrics = named("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE");
        assert_eq!(of_metrics, "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY");
        let by_flag = origins(&["--client-cert", "/a"], &[]);
        assert_eq!(by_flag.name_beside("client_cert", "client_key"), "--client-key");
    }

    #[test]
    fn a_value_that_is_written_otherwise_is_not_given_to_clap() {
        let set = |name: &str| [METRIC_EXPORT_INTERVAL, "HOST_PROC"].contains(&name).then(|| "1000".into());
        let both = origins(&[], &[(METRIC_EXPORT_INTERVAL, "1000"), ("HOST_PROC", "1000")]);
        assert_eq!(both.name("interval"), METRIC_EXPORT_INTERVAL);
        assert_eq!(both.as_flags(&Cli::command(), set), ["--proc-root=1000"]);
    }
}
