//! What the user's words about exporting mean: which receiver, how, and what is sent. A pure function of flags and
//! variables; files are read by who uses them.

use std::ffi::OsString;

use clap::parser::ValueSource;
use http::uri::Scheme;
use opentelemetry_proto::tonic::resource::v1::Resource;
use thiserror::Error;

use super::{
    endpoint::{endpoint, of_agent},
    variables::Variables,
};
use crate::{
    cli::{self, variables::METRICS_ENDPOINT},
    export::otlp::{Files, Names, NoAttribute, Protocol, Target, resource},
    proc::system::Host,
};

/// Why something can't be exported as the user says.
#[derive(Debug, Error)]
pub enum ExportSettingsError {
    /// Two places.
    #[error("--endpoint and --agent-host or --agent-port exclude each other: give one of them")]
    TwoPlaces,
    /// Not an address.
    #[error("{url:?} is no endpoint: {reason}; give a URL such as http://localhost:4317")]
    Endpoint {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The scheme says one thing, the flag another.
    #[error("{0:?} is reached by TLS, but --tls=false (USE_TLS) forbids it: take one of them back")]
    TlsForbidden(String),
    /// One without the other.
    #[error("{given} is given without {missing}: mutual TLS needs both")]
    HalfPair {
        /// The flag that is there.
        given: &'static str,
        /// The flag that is not.
        missing: &'static str,
    },
    /// A variable can't be understood.
    #[error("{name}: {reason}")]
    Variable {
        /// Its name.
        name: String,
        /// What would be right.
        reason: String,
    },
    /// The attributes of the resource can't be understood.
    #[error(transparent)]
    Attribute(#[from] NoAttribute),
}

/// What is exported, and where to.
#[derive(Clone, Debug)]
pub struct Export {
    /// Where to and how.
    pub target: Target,
    /// Whose names.
    pub names: Names,
    /// With series for each process: so many at most.
    pub listed: Option<usize>,
    /// Who sends.
    pub resource: Resource,
    /// Headers for people: their values masked.
    pub masked_headers: String,
    /// What is set, but without effect.
    pub remarks: Vec<String>,
}

/// Where the places came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// `--endpoint`.
    pub endpoint: Option<ValueSource>,
    /// `--agent-host`.
    pub agent_host: Option<ValueSource>,
    /// `--agent-port`.
    pub agent_port: Option<ValueSource>,
}

impl Export {
    /// From the command line and the environment's variables.
    pub fn new(
        cli: &cli::Export,
        given: Given,
        host: &Host,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ExportSettingsError> {
        let variables = Variables(variable);
        let protocol = match cli.protocol {
            cli::Protocol::Grpc => Protocol::Grpc,
            cli::Protocol::HttpProtobuf => Protocol::HttpProtobuf,
        };
        let is_http = protocol == Protocol::HttpProtobuf;
        let by_flag = |source| source == Some(ValueSource::CommandLine);
        let agent_by_flag = by_flag(given.agent_host) || by_flag(given.agent_port);
        let endpoint = match &cli.endpoint {
            Some(_) if by_flag(given.endpoint) && agent_by_flag => {
                return Err(ExportSettingsError::TwoPlaces);
            }
            Some(url) if by_flag(given.endpoint) || !agent_by_flag => {
                let is_of_metrics = !by_flag(given.endpoint) && variables.get(METRICS_ENDPOINT)?.is_some();
                endpoint(url, cli.tls, is_http.then_some(is_of_metrics))?
            }
            _ => {
                let port = cli.agent_port.unwrap_or(if is_http { 4318 } else { 4317 });
                of_agent(&cli.agent_host, port, cli.tls, is_http.then_some(false))?
            }
        };
        let files = files(cli)?;
        let uses_tls = endpoint.scheme() == Some(&Scheme::HTTPS);
        let mut remarks = Vec::new();
        if !uses_tls && files != Files::default() {
            remarks.push(
                "certificates are given, but nothing is sent by TLS: give --tls, or an https:// URL".into(),
            );
        }
        if let Some((name, preference)) = variables.otlp("TEMPORALITY_PREFERENCE")?
            && !preference.eq_ignore_ascii_case("cumulative")
        {
            remarks.push(format!("{name} has no effect: totals are always cumulative"));
        }
        let (headers, masked_headers) = variables.headers()?;
        let attributes = variables.get("OTEL_RESOURCE_ATTRIBUTES")?;
        let service_name = variables.get("OTEL_SERVICE_NAME")?;
        Ok(Self {
            target: Target {
                protocol,
                endpoint,
                tls: uses_tls.then_some(files),
                headers,
                compression: variables.compression()?,
                timeout: variables.timeout()?,
            },
            names: Names { otel: cli.names != cli::Names::Instana, instana: cli.names != cli::Names::Otel },
            listed: cli.per_process.then_some(cli.max_processes as usize),
            resource: resource(host, attributes.as_deref(), service_name.as_deref())?,
            masked_headers,
            remarks,
        })
    }
}

fn files(cli: &cli::Export) -> Result<Files, ExportSettingsError> {
    let half = |given, missing| Err(ExportSettingsError::HalfPair { given, missing });
    let client = match (&cli.client_cert, &cli.client_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => return half("--client-cert (CLIENT_CERT_PATH)", "--client-key (CLIENT_KEY_PATH)"),
        (None, Some(_)) => return half("--client-key (CLIENT_KEY_PATH)", "--client-cert (CLIENT_CERT_PATH)"),
    };
    Ok(Files { authorities: cli.ca_cert.clone(), client })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use std::time::Duration;

    use super::*;
    use crate::{cli::Cli, export::otlp::Compression};

    fn export(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Export, ExportSettingsError> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        // What clap does with variables, without touching the environment that all tests share.
        let mut all = vec!["agent".to_owned()];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let matches = Cli::command().get_matches_from(all);
        let mut cli = Cli::from_arg_matches(&matches).unwrap();
        let mut given = Given {
            endpoint: matches.value_source("endpoint"),
            agent_host: matches.value_source("agent_host"),
            agent_port: matches.value_source("agent_port"),
        };
        let of_variables = [METRICS_ENDPOINT, "OTEL_EXPORTER_OTLP_ENDPOINT"].into_iter().find_map(variable);
        if let (None, Some(url)) = (&cli.export.endpoint, of_variables) {
            cli.export.endpoint = Some(url);
            given.endpoint = Some(ValueSource::EnvVariable);
        }
        let host = Host { name: "box".into(), id: None };
        Export::new(&cli.export, given, &host, |name| variable(name).map(OsString::from))
    }

    fn to(arguments: &[&str], variables: &[(&str, &str)]) -> String {
        export(arguments, variables)
            .map_or_else(|error| error.to_string(), |it| it.target.endpoint.to_string())
    }

    const HTTP: [&str; 2] = ["--protocol", "http/protobuf"];

    #[test]
    fn the_default_is_the_instana_agent_on_this_host() {
        assert_eq!(to(&[], &[]), "http://localhost:4317/");
        assert_eq!(to(&HTTP, &[]), "http://localhost:4318/v1/metrics");
        assert_eq!(to(&["--agent-host", "a", "--agent-port", "1"], &[]), "http://a:1/");
        assert_eq!(to(&["--agent-host", "::1"], &[]), "http://[::1]:4317/");
        assert_eq!(to(&["--agent-host", "[::1]"], &[]), "http://[::1]:4317/");
        assert_eq!(to(&["--agent-host", "a", "--tls"], &[]), "https://a:4317/");
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_the_variable_of_metrics_is_taken_as_it_is() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://base:1/otlp/");
        let own = (METRICS_ENDPOINT, "http://own:2/path?x=1");
        let with = |more: &[&str], variables: &[(&str, &str)]| to(&[&HTTP, more].concat(), variables);
        assert_eq!(with(&[], &[base]), "http://base:1/otlp/v1/metrics");
        assert_eq!(with(&[], &[base, own]), "http://own:2/path?x=1");
        assert_eq!(with(&["--endpoint", "http://flag:3"], &[base, own]), "http://flag:3/v1/metrics");
        assert_eq!(with(&["--endpoint", "http://flag:3/v1/metrics"], &[]), "http://flag:3/v1/metrics");
        assert_eq!(with(&["--endpoint", "http://flag:3/a?b=c"], &[]), "http://flag:3/a/v1/metrics?b=c");
        assert_eq!(with(&["--agent-host", "a"], &[base, own]), "http://a:4318/v1/metrics");
        assert_eq!(to(&[], &[base]), "http://base:1/");
    }

    #[test]
    fn with_tls_the_scheme_is_https_by_itself() {
        assert_eq!(to(&["--tls", "--endpoint", "collector:4317"], &[]), "https://collector:4317/");
        assert_eq!(to(&["--tls", "--endpoint", "http://collector:4317"], &[]), "https://collector:4317/");
        assert_eq!(to(&["--endpoint", "collector:4317"], &[]), "http://collector:4317/");
        assert!(export(&["--endpoint", "https://a"], &[]).unwrap().target.tls.is_some());
        assert!(export(&["--endpoint", "http://a"], &[]).unwrap().target.tls.is_none());
        assert!(to(&["--tls=no", "--endpoint", "https://a"], &[]).contains("take one of them back"));
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        let says = |url: &str, reason: &str| {
            let said = to(&["--endpoint", url], &[]);
            assert!(said.contains(reason), "{url}: {said}");
        };
        says("ftp://a", "neither http nor https");
        says("http://", "not a URL");
        says("http://user:secret@a:1", "OTEL_EXPORTER_OTLP_HEADERS");
        for secret in
            ["http://user:secret@a:1/?a=secret", "user:secret@a", "ftp://a?secret", "https:/secret@a"]
        {
            assert!(!to(&["--tls=no", "--endpoint", secret], &[]).contains("secret"), "{secret}");
        }
        assert!(to(&["--agent-host", "a/b"], &[]).contains("a name or an address alone"));
        assert!(to(&["--agent-host", "127.0.0.1:9"], &[]).contains("give it by --agent-port"));
        says("http://a:0", "from 1 to 65535");
        says("http://a:99999", "from 1 to 65535");
        says("http://a b", "not a URL");
        assert!(to(&["--endpoint", "http://a", "--agent-port", "1"], &[]).contains("exclude each other"));
    }

    #[test]
    fn certificates_without_tls_are_remarked_and_half_a_pair_is_refused() {
        let given = export(&["--ca-cert", "/ca.pem"], &[]).unwrap();
        assert!(given.remarks[0].contains("give --tls"));
        let given = export(&["--tls", "--ca-cert", "/ca.pem"], &[]).unwrap();
        assert_eq!((given.remarks.len(), given.target.tls.unwrap().authorities.is_some()), (0, true));
        let error = export(&["--tls", "--client-cert", "/c.pem"], &[]).unwrap_err().to_string();
        assert!(error.contains("--client-key") && error.contains("needs both"), "{error}");
        assert!(export(&["--tls", "--client-key", "/k.pem"], &[]).is_err());
    }

    #[test]
    fn a_wish_for_deltas_is_remarked() {
        let remarks = |value| {
            let variable = ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", value);
            export(&[], &[variable]).unwrap().remarks.len()
        };
        assert_eq!((remarks("delta"), remarks("Cumulative"), remarks("")), (1, 0, 0));
    }

    #[test]
    fn headers_are_sent_and_their_values_shown_to_nobody() {
        let secret = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20cret, x-team = a");
        let given = export(&[], &[secret]).unwrap();
        assert_eq!(given.target.headers["api-key"], "s cret");
        assert_eq!(given.masked_headers, "api-key=***,x-team=***");
        assert!(!format!("{given:?}").contains("cret"));
        let own = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=b");
        assert_eq!(export(&[], &[secret, own]).unwrap().masked_headers, "a=***");
        let own = export(&[], &[("OTEL_EXPORTER_OTLP_HEADERS", "Content-Type=a")]).unwrap_err().to_string();
        assert!(own.contains("sets content-type by itself"), "{own}");
        for wrong in ["a", "a b=c", "a=%0a"] {
            let error = export(&[], &[("OTEL_EXPORTER_OTLP_HEADERS", wrong)]).unwrap_err().to_string();
            assert!(error.starts_with("OTEL_EXPORTER_OTLP_HEADERS: give name=value"), "{error}");
        }
    }

    #[test]
    fn timeout_and_compression_are_taken_from_their_variables() {
        let given = export(&[], &[]).unwrap().target;
        assert_eq!((given.timeout, given.compression), (Duration::from_secs(10), Compression::Gzip));
        let variables =
            [("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"), ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none")];
        let given = export(&[], &variables).unwrap().target;
        assert_eq!((given.timeout, given.compression), (Duration::from_millis(1500), Compression::None));
        for wrong in ["10s", "0", "-1", "86400001", "9223372036854775807"] {
            let error = export(&[], &[("OTEL_EXPORTER_OTLP_TIMEOUT", wrong)]).unwrap_err().to_string();
            assert!(error.contains("give milliseconds"), "{error}");
        }
        let wrong = ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd");
        assert!(export(&[], &[wrong]).unwrap_err().to_string().contains("gzip or none"));
    }
}
