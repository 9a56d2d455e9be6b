//! What the user's words about exporting mean: which receiver, how, and what is sent. A pure function of flags and
//! variables; files are read by who uses them.

use std::time::Duration;

use clap::parser::ValueSource;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, uri::Scheme};
use opentelemetry_proto::tonic::resource::v1::Resource;
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::{
    cli::{self, variables::METRICS_ENDPOINT},
    export::otlp::{Compression, Files, Names, NoAttribute, Protocol, Target, resource},
    proc::system::Host,
};

/// Where metrics go on a receiver that takes all signals.
const METRICS_PATH: &str = "/v1/metrics";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

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
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ExportSettingsError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        // The variable of metrics alone wins.
        let of_metrics = |last: &str| {
            [format!("OTEL_EXPORTER_OTLP_METRICS_{last}"), format!("OTEL_EXPORTER_OTLP_{last}")]
                .into_iter()
                .find_map(|name| variable(&name).map(|value| (name, value)))
        };
        let protocol = match cli.protocol {
            cli::Protocol::Grpc => Protocol::Grpc,
            cli::Protocol::HttpProtobuf => Protocol::HttpProtobuf,
        };
        let by_flag = |source| source == Some(ValueSource::CommandLine);
        let agent_by_flag = by_flag(given.agent_host) || by_flag(given.agent_port);
        let endpoint = match &cli.endpoint {
            Some(_) if by_flag(given.endpoint) && agent_by_flag => {
                return Err(ExportSettingsError::TwoPlaces);
            }
            Some(url) if by_flag(given.endpoint) || !agent_by_flag => {
                let is_of_metrics = !by_flag(given.endpoint) && variable(METRICS_ENDPOINT).is_some();
                endpoint(url, cli.tls, (protocol == Protocol::HttpProtobuf).then_some(is_of_metrics))?
            }
            _ => {
                let port = cli.agent_port.unwrap_or(match protocol {
                    Protocol::Grpc => 4317,
                    Protocol::HttpProtobuf => 4318,
                });
                let host = cli.agent_host.trim();
                // An IPv6 address stands in brackets.
                let bracketed = host.contains(':') && !host.starts_with('[');
                let host = if bracketed { format!("[{host}]") } else { host.to_owned() };
                let url = format!("{host}:{port}");
                endpoint(&url, cli.tls, (protocol == Protocol::HttpProtobuf).then_some(false))?
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
        let (headers, masked_headers) = match of_metrics("HEADERS") {
            Some((name, text)) => headers(&text).ok_or_else(|| {
                of_variable(name, "give name=value,name=value, percent-encoded where needed")
            })?,
            None => (HeaderMap::new(), "none".into()),
        };
        let timeout = match of_metrics("TIMEOUT") {
            Some((name, text)) => {
                let milliseconds = text.trim().parse().ok().filter(|&milliseconds: &u64| milliseconds > 0);
                Duration::from_millis(milliseconds.ok_or_else(|| {
                    of_variable(name, &format!("{text:?} is no timeout: give milliseconds, such as 10000"))
                })?)
            }
            None => DEFAULT_TIMEOUT,
        };
        let compression = match of_metrics("COMPRESSION") {
            None => Compression::Gzip,
            Some((name, text)) => match text.trim().to_ascii_lowercase().as_str() {
                "gzip" => Compression::Gzip,
                "none" => Compression::None,
                _ => return Err(of_variable(name, &format!("{text:?} is unknown: give gzip or none"))),
            },
        };
        let attributes = variable("OTEL_RESOURCE_ATTRIBUTES");
        let service_name = variable("OTEL_SERVICE_NAME");
        Ok(Self {
            target: Target {
                protocol,
                endpoint,
                tls: uses_tls.then_some(files),
                headers,
                compression,
                timeout,
            },
            names: Names { otel: cli.names != cli::Names::Instana, instana: cli.names != cli::Names::Otel },
            listed: cli.per_process.then_some(cli.max_processes as usize),
            resource: resource(host, attributes.as_deref(), service_name.as_deref())?,
            masked_headers,
            remarks,
        })
    }
}

fn of_variable(name: String, reason: &str) -> ExportSettingsError {
    ExportSettingsError::Variable { name, reason: reason.into() }
}

/// The address to send to. `as_it_is` is for HTTP alone: whether the path is complete.
fn endpoint(url: &str, tls: Option<bool>, as_it_is: Option<bool>) -> Result<Uri, ExportSettingsError> {
    let wrong = |reason| ExportSettingsError::Endpoint { url: url.into(), reason };
    let url_text = url.trim();
    let has_scheme = url_text.contains("://");
    let with_scheme = if has_scheme { url_text.to_owned() } else { format!("http://{url_text}") };
    let uri: Uri = with_scheme.parse().map_err(|_| wrong("it is not a URL"))?;
    let scheme = match (uri.scheme_str(), tls) {
        (Some("https"), Some(false)) => return Err(ExportSettingsError::TlsForbidden(url.into())),
        (Some("https"), _) | (Some("http"), Some(true)) => Scheme::HTTPS,
        (Some("http"), _) => Scheme::HTTP,
        _ => return Err(wrong("its scheme is neither http nor https")),
    };
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.ok_or_else(|| wrong("there is no host in it"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("credentials belong into OTEL_EXPORTER_OTLP_HEADERS"));
    }
    if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none_or(|port| port == 0)
    {
        return Err(wrong("the port must be from 1 to 65535"));
    }
    let path = match as_it_is {
        // gRPC names the service by the path itself.
        None => "/".to_owned(),
        Some(true) => uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
        Some(false) => match uri.path().trim_end_matches('/') {
            path if path.ends_with(METRICS_PATH) => path.to_owned(),
            path => format!("{path}{METRICS_PATH}"),
        },
    };
    let whole = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query(path).build();
    whole.map_err(|_| wrong("it is not a URL"))
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

/// The headers in a list, and the list with its values masked.
fn headers(text: &str) -> Option<(HeaderMap, String)> {
    let mut headers = HeaderMap::new();
    let mut masked = Vec::new();
    for header in text.split(',').map(str::trim).filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once('=')?;
        let name: HeaderName = name.trim().parse().ok()?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        masked.push(format!("{name}=***"));
        headers.insert(name, value);
    }
    Some((headers, masked.join(",")))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::cli::Cli;

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
        Export::new(&cli.export, given, &host, variable)
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
    fn headers_are_sent_and_their_values_shown_to_nobody() {
        let secret = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20cret, x-team = a");
        let given = export(&[], &[secret]).unwrap();
        assert_eq!(given.target.headers["api-key"], "s cret");
        assert_eq!(given.masked_headers, "api-key=***,x-team=***");
        assert!(!format!("{given:?}").contains("cret"));
        let own = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=b");
        assert_eq!(export(&[], &[secret, own]).unwrap().masked_headers, "a=***");
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
        for wrong in [("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "0")] {
            assert!(export(&[], &[wrong]).unwrap_err().to_string().contains("milliseconds"));
        }
        let wrong = ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd");
        assert!(export(&[], &[wrong]).unwrap_err().to_string().contains("gzip or none"));
    }
}
