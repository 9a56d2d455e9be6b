//! Settings of exports, from the command line and the environment to the receiver.

use std::{ffi::OsString, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _};

use super::{error::ExportSettingsError, export::Export};
use crate::{
    cli::{Cli, Origins, variables::METRICS_ENDPOINT},
    export::otlp::{Compression, Place},
    proc::{process_attributes::AttributeSet, system::Host},
};

/// `variables` stands for the environment, which all tests of a process share.
fn export(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Export, ExportSettingsError> {
    let variable = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    let matches = Cli::command().get_matches_from(["agent"].iter().chain(arguments));
    let origins = Origins::new(&matches, variable);
    // clap reads some variables as if they were flags.
    let mut all: Vec<String> = ["agent"].iter().chain(arguments).map(ToString::to_string).collect();
    for flag in ["endpoint", "agent_host", "agent_port", "tls", "ca_cert", "client_cert", "client_key"] {
        if let Some(value) = origins.variable(flag).and_then(variable) {
            all.push(format!("--{}={}", flag.replace('_', "-"), value.into_string().unwrap()));
        }
    }
    let cli = Cli::from_arg_matches(&Cli::command().get_matches_from(all)).unwrap();
    let host = Host { name: "box".into(), id: None };
    Export::new(&cli.export, &origins, &host, &[], variable)
}

fn to(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    export(arguments, variables).map_or_else(|error| error.to_string(), |it| it.receiver.endpoint.to_string())
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
    assert!(export(&["--endpoint", "https://a"], &[]).unwrap().receiver.tls.is_some());
    assert!(export(&["--endpoint", "http://a"], &[]).unwrap().receiver.tls.is_none());
    assert!(to(&["--tls=no", "--endpoint", "https://a"], &[]).contains("take one of them back"));
}

#[test]
fn what_is_no_endpoint_says_why() {
    let says = |url: &str, reason: &str| {
        let message = to(&["--endpoint", url], &[]);
        assert!(message.contains(reason), "{url}: {message}");
    };
    says("ftp://a", "neither http nor https");
    says("http://", "not a URL");
    says("http://user:secret@a:1", "OTEL_EXPORTER_OTLP_HEADERS");
    for secret in ["http://user:secret@a:1/?a=secret", "user:secret@a", "ftp://a?secret", "https:/secret@a"] {
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
    for zone in
        ["http://[::1%lo]:4317", "[fe80::1%25eth0]:4317", "fe80::1%eth0", "https://fe80::1%eth0:4317/v1"]
    {
        says(zone, "with a zone (%) can't stand in a URL; give http");
    }
    assert!(to(&["--agent-host", "fe80::1%eth0"], &[]).contains("give a name or a global address"));
    says("http://a:b:c", "not a URL");
    assert!(to(&["--endpoint", "http://a", "--agent-port", "1"], &[]).contains("exclude each other"));
}

#[test]
fn certificates_without_tls_are_remarked_and_half_a_pair_is_refused() {
    let settings = export(&["--ca-cert", "/ca.pem"], &[]).unwrap();
    assert!(settings.remarks[0].contains("give --tls"));
    let settings = export(&["--tls", "--ca-cert", "/ca.pem"], &[]).unwrap();
    assert_eq!((settings.remarks.len(), settings.receiver.tls.unwrap().authorities.is_some()), (0, true));
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
    let message = |url| remarks(&["--endpoint", url], &[]);
    let expected = "--endpoint: http://collector has no port: 80 is taken; OTLP's are 4317 and 4318";
    assert_eq!(message("http://collector"), expected);
    assert!(message("https://collector/a?key=secret").contains("https://collector/a?*** has no port: 443"));
    assert_eq!((message("http://collector:4317"), message("[::1]:4317")), (String::new(), String::new()));
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector");
    assert!(remarks(&[], &[variable]).starts_with("OTEL_EXPORTER_OTLP_ENDPOINT: collector has no port"));
    assert_eq!(remarks(&["--agent-host", "a"], &[]), "");
}

#[test]
fn an_explicit_false_of_insecure_means_tls_where_nothing_else_decides() {
    let (yes, no) = (("OTEL_EXPORTER_OTLP_INSECURE", "true"), ("OTEL_EXPORTER_OTLP_INSECURE", "False"));
    let schemeless = ["--endpoint", "a:1"];
    assert_eq!(to(&schemeless, &[no]), "https://a:1/");
    assert_eq!((to(&schemeless, &[yes]), to(&schemeless, &[])), ("http://a:1/".into(), "http://a:1/".into()));
    assert_eq!(to(&["--agent-host", "a"], &[no]), "https://a:4317/");
    let of_metrics = ("OTEL_EXPORTER_OTLP_METRICS_INSECURE", "true");
    assert_eq!(to(&schemeless, &[no, of_metrics]), "http://a:1/");
    // Other settings win, and a remark names them.
    assert_eq!(to(&["--endpoint", "http://a:1"], &[no]), "http://a:1/");
    let message = remarks(&["--endpoint", "http://a:1"], &[no]);
    assert!(message.ends_with("OTEL_EXPORTER_OTLP_INSECURE (the endpoint's scheme decides)"), "{message}");
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
        let settings = export(&[], variables).unwrap();
        assert_eq!(settings.metrics, settings.off_by.is_none());
        settings.off_by
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
        assert!(error.starts_with("OTEL_METRICS_EXPORTER: ") && error.contains("otlp or none"), "{error}");
    }
}

#[test]
fn exits_are_exported_by_flag_or_variable_and_the_flag_wins() {
    let exits = |arguments: &[&str], variables: &[(&str, &str)]| export(arguments, variables).unwrap().exits;
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
        let settings = export(&[], variables).unwrap();
        assert!(settings.receiver.log_headers.values().all(http::HeaderValue::is_sensitive));
        settings.receiver.log_headers.get("a").map(|value| value.to_str().unwrap().to_owned())
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
    let settings = export(&[&all[..], &["--per-process"]].concat(), &[]).unwrap();
    assert_eq!((settings.remarks.len(), settings.attributes), (0, AttributeSet::WithCommandLine));
    assert_eq!(settings.identity, Place::Points);
}

#[test]
fn a_proxy_is_taken_for_the_endpoint_and_a_wrong_one_is_an_error() {
    let proxy =
        |arguments: &[&str], variables: &[(&str, &str)]| export(arguments, variables).unwrap().receiver.proxy;
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
    let settings = export(&[], &[secret]).unwrap();
    assert_eq!(settings.receiver.headers["api-key"], "s cret");
    assert_eq!(settings.masked_headers, "api-key=***,x-team=***");
    assert!(!format!("{settings:?}").contains("cret"));
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
    let settings = export(&[], &[]).unwrap().receiver;
    assert_eq!((settings.timeout, settings.compression), (Duration::from_secs(10), Compression::Gzip));
    let variables =
        [("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"), ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none")];
    let settings = export(&[], &variables).unwrap().receiver;
    assert_eq!((settings.timeout, settings.compression), (Duration::from_millis(1500), Compression::None));
    for wrong in ["10s", "0", "-1", "86400001", "9223372036854775807"] {
        let error = export(&[], &[("OTEL_EXPORTER_OTLP_TIMEOUT", wrong)]).unwrap_err().to_string();
        assert!(error.contains("give milliseconds"), "{error}");
    }
    let wrong = ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd");
    assert!(export(&[], &[wrong]).unwrap_err().to_string().contains("gzip or none"));
}
