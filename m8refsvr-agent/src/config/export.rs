//! What the user's words about exporting mean: which receiver, how, and what is sent. A pure function of flags and
//! variables; files are read by who uses them.

use std::ffi::OsString;

use http::{Uri, uri::Scheme};
use thiserror::Error;

use super::{
    endpoint::{Security, endpoint, of_agent},
    variables::Variables,
};
pub use crate::cli::Given;
use crate::{
    cli::{self, ProcessAttributes, variables::METRICS_ENDPOINT},
    export::otlp::{
        Files, Names, NoAttribute, Place, Protocol, Proxy, ProxyError, Resource, Target, resource,
    },
    logging::escape::without_secrets,
    proc::{process_attributes::AttributeSet, system::Host},
};

/// Why something can't be exported as the user says.
#[derive(Debug, Error)]
pub enum ExportSettingsError {
    /// Two places.
    #[error("--endpoint and --agent-host or --agent-port exclude each other: give one of them")]
    TwoPlaces,
    /// Not an address.
    #[error("{setting}: {url:?} is no endpoint: {reason}; give {right}")]
    Endpoint {
        /// The flag or variable.
        setting: String,
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
        /// What would be right.
        right: String,
    },
    /// Not a host.
    #[error("{setting}: {host:?} is no host: {reason}")]
    AgentHost {
        /// The flag or variable.
        setting: String,
        /// As given.
        host: String,
        /// What would be right.
        reason: String,
    },
    /// The scheme says one thing, another setting the opposite.
    #[error("{setting}: {url:?} is reached by TLS, but {tls} forbids it: take one of them back")]
    TlsForbidden {
        /// The flag or variable of the endpoint.
        setting: String,
        /// As given.
        url: String,
        /// The flag or variable that says no.
        tls: String,
    },
    /// One without the other.
    #[error("{given} is given without {missing}: mutual TLS needs both")]
    HalfPair {
        /// The flag or variable that is there.
        given: String,
        /// The flag or variable that is not.
        missing: String,
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
    /// The proxy can't be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// What is exported, and where to.
#[derive(Clone, Debug)]
pub struct Export {
    /// Where to and how.
    pub target: Target,
    /// Whether metrics are exported at all.
    pub metrics: bool,
    /// The variable, and how it is set, that has no metrics exported.
    pub off_by: Option<&'static str>,
    /// Whether process exits are exported, as log records.
    pub exits: bool,
    /// Whose names.
    pub names: Names,
    /// With series for each process: so many at most.
    pub listed: Option<usize>,
    /// Where the attributes stand that tell these processes apart.
    pub identity: Place,
    /// Which attributes of processes are read.
    pub attributes: AttributeSet,
    /// Who sends.
    pub resource: Resource,
    /// Headers for people: their values masked.
    pub masked_headers: String,
    /// What is set, but without effect, and what was chosen where nothing was.
    pub remarks: Vec<String>,
}

impl Export {
    /// From the command line and the environment's variables.
    pub fn new(
        cli: &cli::Export,
        given: &Given,
        host: &Host,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ExportSettingsError> {
        let variables = Variables(variable);
        let protocol = match cli.protocol {
            cli::Protocol::Grpc => Protocol::Grpc,
            cli::Protocol::HttpProtobuf => Protocol::HttpProtobuf,
        };
        let is_http = protocol == Protocol::HttpProtobuf;
        let agent_by_flag = given.is_flag("agent_host") || given.is_flag("agent_port");
        let insecure = variables.insecure()?;
        let security = Security {
            tls: cli.tls,
            tls_setting: given.name("tls"),
            is_insecure: insecure.as_ref().map(|(_, is_insecure)| *is_insecure),
        };
        let mut remarks = Vec::new();
        let setting = given.name("endpoint");
        let endpoint = match &cli.endpoint {
            Some(_) if given.is_flag("endpoint") && agent_by_flag => {
                return Err(ExportSettingsError::TwoPlaces);
            }
            Some(url) if given.is_flag("endpoint") || !agent_by_flag => {
                let is_of_metrics = given.variable("endpoint") == Some(METRICS_ENDPOINT);
                let endpoint = endpoint(url, &setting, &security, is_http.then_some(is_of_metrics))?;
                remarks.extend(of_port(&setting, url, &endpoint));
                endpoint
            }
            _ => {
                let port = cli.agent_port.unwrap_or(if is_http { 4318 } else { 4317 });
                let (setting, port_setting) =
                    (given.name("agent_host"), given.name_beside("agent_host", "agent_port"));
                of_agent(&cli.agent_host, port, &setting, &port_setting, &security, is_http.then_some(false))?
            }
        };
        let files = files(cli, given)?;
        let uses_tls = endpoint.scheme() == Some(&Scheme::HTTPS);
        if !uses_tls && files != Files::default() {
            remarks.push(
                "certificates are given, but nothing is sent by TLS: give --tls, or an https:// URL".into(),
            );
        }
        let (off_by, misunderstood) = variables.off_by()?;
        let is_disabled = off_by.is_some_and(|off_by| off_by.starts_with("OTEL_SDK_DISABLED"));
        let exits = variables.exits()?;
        let exits = !is_disabled && (cli.export_exits || exits == Some(true));
        remarks.extend(misunderstood);
        remarks.extend(alone(cli));
        if cli.per_process && cli.names == cli::Names::Instana {
            remarks.push("without effect with --names instana: --per-process".into());
        }
        let mut ignored = variables.ignored(exits);
        if let Some((name, is_insecure)) = insecure
            && is_insecure == uses_tls
        {
            let decides = if cli.tls.is_some() { given.name("tls") } else { "the endpoint's scheme".into() };
            ignored.push(format!("{name} ({decides} decides)"));
        }
        if !ignored.is_empty() {
            remarks.push(format!("variables without effect: {}", ignored.join(", ")));
        }
        let (headers, masked_headers) = variables.headers()?;
        let log_headers = variables.log_headers(&headers)?;
        let attributes = variables.get("OTEL_RESOURCE_ATTRIBUTES")?;
        let service_name = variables.get("OTEL_SERVICE_NAME")?;
        let target = Target {
            protocol,
            proxy: Proxy::of(&endpoint, &variables.0)?,
            endpoint,
            tls: uses_tls.then_some(files),
            log_headers,
            headers,
            compression: variables.compression()?,
            timeout: variables.timeout()?,
        };
        if exits && !target.has_usual_place() {
            remarks.push(
                "log records of exits are sent to /v1/logs: the path for metrics is not /v1/metrics".into(),
            );
        }
        Ok(Self {
            target,
            metrics: off_by.is_none(),
            off_by,
            exits,
            names: Names { otel: cli.names != cli::Names::Instana, instana: cli.names != cli::Names::Otel },
            listed: cli.per_process.then_some(cli.max_series_processes as usize),
            identity: match cli.process_attributes {
                ProcessAttributes::Resource => Place::Resource,
                ProcessAttributes::Point => Place::Points,
            },
            attributes: match (cli.per_process, cli.with_command_line) {
                (false, _) => AttributeSet::None,
                (true, false) => AttributeSet::Standard,
                (true, true) => AttributeSet::WithCommandLine,
            },
            resource: resource(host, attributes.as_deref(), service_name.as_deref())?,
            masked_headers,
            remarks,
        })
    }
}

impl Export {
    /// That nothing leaves at all, and by which variable.
    pub fn nothing_leaves(&self) -> Option<String> {
        let off_by = self.off_by.filter(|_| !self.exits)?;
        Some(format!("nothing is exported: {off_by}"))
    }
}

/// Which port is taken where none is given, which is not one of OTLP's.
fn of_port(setting: &str, url: &str, endpoint: &Uri) -> Option<String> {
    if endpoint.port().is_some() {
        return None;
    }
    let port = if endpoint.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let url = without_secrets(url.trim());
    Some(format!("{setting}: {url} has no port: {port} is taken; OTLP's are 4317 and 4318"))
}

/// What has an effect only with `--per-process`.
fn alone(cli: &cli::Export) -> Option<String> {
    let with_command_line = cli.with_command_line.then_some("--with-command-line");
    let point = (cli.process_attributes == ProcessAttributes::Point).then_some("--process-attributes point");
    let given: Vec<&str> = with_command_line.into_iter().chain(point).collect();
    let is_alone = !cli.per_process && !given.is_empty();
    is_alone.then(|| format!("without effect as --per-process is not given: {}", given.join(", ")))
}

fn files(cli: &cli::Export, given: &Given) -> Result<Files, ExportSettingsError> {
    let half = |there, missing| {
        let (given, missing) = (given.name(there), given.name_beside(there, missing));
        Err(ExportSettingsError::HalfPair { given, missing })
    };
    let client = match (&cli.client_cert, &cli.client_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => return half("client_cert", "client_key"),
        (None, Some(_)) => return half("client_key", "client_cert"),
    };
    Ok(Files { authorities: cli.ca_cert.clone(), client })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::{cli::Cli, export::otlp::Compression};

    /// As if the variables were those of this process, whose environment all tests share.
    fn export(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Export, ExportSettingsError> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let matches = Cli::command().get_matches_from(["agent"].iter().chain(arguments));
        let given = Given::new(&matches, variable);
        // What clap takes from variables is what it takes from flags.
        let mut all: Vec<String> = ["agent"].iter().chain(arguments).map(ToString::to_string).collect();
        for flag in ["endpoint", "agent_host", "agent_port", "tls", "ca_cert", "client_cert", "client_key"] {
            if let Some(value) = given.variable(flag).and_then(variable) {
                all.push(format!("--{}={}", flag.replace('_', "-"), value.into_string().unwrap()));
            }
        }
        let cli = Cli::from_arg_matches(&Cli::command().get_matches_from(all)).unwrap();
        let host = Host { name: "box".into(), id: None };
        Export::new(&cli.export, &given, &host, variable)
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
        says("unix:///run/otlp.sock", "sockets in the file system");
        says("::1:5417", "an IPv6 address stands in brackets; give http://[::1]:5417");
        says("https://fe80::1/a", "give https://[fe80::1]/a");
        says("http://a:b:c", "not a URL");
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

    fn remarks(arguments: &[&str], variables: &[(&str, &str)]) -> String {
        export(arguments, variables).unwrap().remarks.join("\n")
    }

    #[test]
    fn standard_variables_that_are_not_acted_on_are_named_on_one_line() {
        let some = [
            ("OTEL_METRIC_EXPORT_TIMEOUT", "1000"),
            ("OTEL_LOG_LEVEL", "debug"),
            ("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://a:1"),
            ("OTEL_CONFIG_FILE", ""),
        ];
        let expected = "variables without effect: \
            OTEL_METRIC_EXPORT_TIMEOUT (OTEL_EXPORTER_OTLP_TIMEOUT is read), OTEL_LOG_LEVEL (LOG_LEVEL is read)";
        assert_eq!(remarks(&[], &some), expected);
        let of_logs = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT (exits go where metrics go)";
        assert_eq!(remarks(&["--export-exits"], &some), format!("{expected}, {of_logs}"));
        assert_eq!(remarks(&[], &[]), "");
    }

    #[test]
    fn an_endpoint_without_a_port_says_which_one_is_taken() {
        let said = |url| remarks(&["--endpoint", url], &[]);
        let expected = "--endpoint: http://collector has no port: 80 is taken; OTLP's are 4317 and 4318";
        assert_eq!(said("http://collector"), expected);
        assert!(said("https://collector/a?key=secret").contains("https://collector/a?*** has no port: 443"));
        assert_eq!((said("http://collector:4317"), said("[::1]:4317")), (String::new(), String::new()));
        let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector");
        assert!(remarks(&[], &[variable]).starts_with("OTEL_EXPORTER_OTLP_ENDPOINT: collector has no port"));
        assert_eq!(remarks(&["--agent-host", "a"], &[]), "");
    }

    #[test]
    fn an_explicit_false_of_insecure_means_tls_where_nothing_else_decides() {
        let (yes, no) = (("OTEL_EXPORTER_OTLP_INSECURE", "true"), ("OTEL_EXPORTER_OTLP_INSECURE", "False"));
        let schemeless = ["--endpoint", "a:1"];
        assert_eq!(to(&schemeless, &[no]), "https://a:1/");
        assert_eq!(
            (to(&schemeless, &[yes]), to(&schemeless, &[])),
            ("http://a:1/".into(), "http://a:1/".into())
        );
        assert_eq!(to(&["--agent-host", "a"], &[no]), "https://a:4317/");
        let of_metrics = ("OTEL_EXPORTER_OTLP_METRICS_INSECURE", "true");
        assert_eq!(to(&schemeless, &[no, of_metrics]), "http://a:1/");
        // Others win, which is said.
        assert_eq!(to(&["--endpoint", "http://a:1"], &[no]), "http://a:1/");
        let said = remarks(&["--endpoint", "http://a:1"], &[no]);
        assert!(said.ends_with("OTEL_EXPORTER_OTLP_INSECURE (the endpoint's scheme decides)"), "{said}");
        assert!(remarks(&["--endpoint", "https://a:1"], &[yes]).contains("INSECURE (the endpoint's scheme"));
        assert_eq!(remarks(&["--endpoint", "http://a:1"], &[yes]), "");
        let by_variable = [no, ("USE_TLS", "false")];
        assert_eq!(to(&schemeless, &by_variable), "http://a:1/");
        assert!(remarks(&schemeless, &by_variable).contains("INSECURE (USE_TLS decides)"));
        assert_eq!(to(&[&schemeless[..], &["--tls"]].concat(), &[yes]), "https://a:1/");
        for wrong in ["0", "no", "maybe"] {
            let error = to(&[], &[("OTEL_EXPORTER_OTLP_INSECURE", wrong)]);
            assert!(
                error.starts_with("OTEL_EXPORTER_OTLP_INSECURE: ") && error.contains("true or false"),
                "{error}"
            );
        }
    }

    #[test]
    fn nothing_is_exported_where_a_variable_says_so() {
        let off_by = |variables: &[(&str, &str)]| {
            let export = export(&[], variables).unwrap();
            assert_eq!(export.metrics, export.off_by.is_none());
            export.off_by
        };
        assert_eq!(off_by(&[]), None);
        assert_eq!(off_by(&[("OTEL_SDK_DISABLED", "TRUE")]), Some("OTEL_SDK_DISABLED=true"));
        assert_eq!(off_by(&[("OTEL_METRICS_EXPORTER", "none")]), Some("OTEL_METRICS_EXPORTER=none"));
        assert_eq!(off_by(&[("OTEL_METRICS_EXPORTER", "OTLP"), ("OTEL_SDK_DISABLED", "false")]), None);
        let unclear = [("OTEL_SDK_DISABLED", "1")];
        assert_eq!(off_by(&unclear), None);
        assert_eq!(remarks(&[], &unclear), "OTEL_SDK_DISABLED=1: counts as false, give true or false");
        for wrong in ["console", "prometheus", "otlp,none"] {
            let error = to(&[], &[("OTEL_METRICS_EXPORTER", wrong)]);
            assert!(
                error.starts_with("OTEL_METRICS_EXPORTER: ") && error.contains("otlp or none"),
                "{error}"
            );
        }
    }

    #[test]
    fn exits_are_exported_by_flag_or_variable_and_the_flag_wins() {
        let exits =
            |arguments: &[&str], variables: &[(&str, &str)]| export(arguments, variables).unwrap().exits;
        let (otlp, none) = (("OTEL_LOGS_EXPORTER", "otlp"), ("OTEL_LOGS_EXPORTER", "none"));
        assert_eq!((exits(&[], &[]), exits(&[], &[otlp]), exits(&[], &[none])), (false, true, false));
        assert!(exits(&["--export-exits"], &[none]));
        assert!(!exits(&["--export-exits"], &[("OTEL_SDK_DISABLED", "true")]));
        let without_metrics = export(&[], &[otlp, ("OTEL_METRICS_EXPORTER", "none")]).unwrap();
        assert_eq!((without_metrics.metrics, without_metrics.exits), (false, true));
        assert_eq!(without_metrics.nothing_leaves(), None);
        let error = to(&[], &[("OTEL_LOGS_EXPORTER", "console")]);
        assert!(error.starts_with("OTEL_LOGS_EXPORTER: ") && error.contains("otlp or none"), "{error}");
    }

    #[test]
    fn log_records_have_headers_of_their_own_or_those_of_all_or_those_of_metrics() {
        let header = |variables: &[(&str, &str)]| {
            let export = export(&[], variables).unwrap();
            assert!(export.target.log_headers.values().all(http::HeaderValue::is_sensitive));
            export.target.log_headers.get("a").map(|value| value.to_str().unwrap().to_owned())
        };
        let [logs, all, metrics] = [
            "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
        ];
        let (logs, all, metrics) = ((logs, "a=logs"), (all, "a=all"), (metrics, "a=metrics"));
        assert_eq!(header(&[logs, all, metrics]).unwrap(), "logs");
        assert_eq!(header(&[all, metrics]).unwrap(), "all");
        assert_eq!(header(&[metrics]).unwrap(), "metrics");
        assert_eq!(header(&[]), None);
        let error = to(&[], &[("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a")]);
        assert!(error.starts_with("OTEL_EXPORTER_OTLP_LOGS_HEADERS: give name=value"), "{error}");
    }

    #[test]
    fn what_needs_series_for_each_process_says_so() {
        let all = ["--with-command-line", "--process-attributes", "point"];
        assert!(remarks(&all, &[]).ends_with("not given: --with-command-line, --process-attributes point"));
        let export = export(&[&all[..], &["--per-process"]].concat(), &[]).unwrap();
        assert_eq!((export.remarks.len(), export.attributes), (0, AttributeSet::WithCommandLine));
        assert_eq!(export.identity, Place::Points);
    }

    #[test]
    fn a_proxy_is_taken_for_the_endpoint_and_a_wrong_one_is_an_error() {
        let proxy = |arguments: &[&str], variables: &[(&str, &str)]| {
            export(arguments, variables).unwrap().target.proxy
        };
        let variable = ("HTTPS_PROXY", "http://user:secret@proxy:3128");
        let there = proxy(&["--endpoint", "https://a:1"], &[variable]).unwrap();
        assert_eq!(there.shown(), "http://***@proxy:3128 (HTTPS_PROXY)");
        assert_eq!(proxy(&["--endpoint", "http://a:1"], &[variable]), None);
        assert_eq!(proxy(&["--tls"], &[variable]), None);
        let error = to(&["--endpoint", "https://a:1"], &[("HTTPS_PROXY", "https://user:secret@proxy")]);
        assert!(error.starts_with("HTTPS_PROXY=https://***@proxy: "), "{error}");
    }

    #[test]
    fn a_setting_is_named_by_the_variable_that_it_came_from() {
        let names = |arguments: &[&str], variables: &[(&str, &str)], expected: &str| {
            let error = to(arguments, variables);
            assert!(error.contains(expected), "{error}");
        };
        names(
            &[],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://a")],
            "OTEL_EXPORTER_OTLP_ENDPOINT: \"ftp://a\" is no",
        );
        names(&["--endpoint", "ftp://a"], &[], "--endpoint: \"ftp://a\" is no endpoint");
        names(&[], &[("INSTANA_AGENT_HOST", "a:1")], "INSTANA_AGENT_HOST: \"a:1\" is no host");
        names(&[], &[("INSTANA_AGENT_HOST", "a:1")], "give it by INSTANA_AGENT_PORT");
        let forbidden = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://a:1"), ("USE_TLS", "no")];
        names(
            &[],
            &forbidden,
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: \"https://a:1\" is reached by TLS, but USE_TLS",
        );
        names(&["--tls=no"], &forbidden, "but --tls forbids it");
        names(
            &["--tls"],
            &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/a")],
            "OTEL_EXPORTER_OTLP_CLIENT_KEY is given without OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        );
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
