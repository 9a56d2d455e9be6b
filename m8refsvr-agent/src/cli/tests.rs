//! The command line as a whole.

use std::time::Duration;

use super::*;
use crate::logging::LogLevel;

fn parsed(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Parsed, clap::Error> {
    let arguments = ["agent"].iter().chain(arguments).map(OsString::from).collect();
    parse_from(arguments, |name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    })
}

fn cli(arguments: &[&str]) -> Cli {
    parsed(arguments, &[]).unwrap().cli
}

#[test]
fn the_definition_is_sound() {
    command().debug_assert();
}

#[test]
fn a_flag_takes_the_first_of_its_variables_that_is_set() {
    let of_metrics = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf");
    let protocol = |arguments: &[&str], variables: &[(&str, &str)]| {
        parsed(arguments, variables).map(|parsed| parsed.cli.export.protocol)
    };
    assert_eq!(protocol(&[], &[]).unwrap(), Protocol::Grpc);
    let wrong = ("OTEL_EXPORTER_OTLP_PROTOCOL", "nonsense");
    assert_eq!(protocol(&[], &[wrong, of_metrics]).unwrap(), Protocol::HttpProtobuf);
    assert_eq!(protocol(&["check"], &[of_metrics]).unwrap(), Protocol::HttpProtobuf);
    assert_eq!(protocol(&["--protocol", "grpc"], &[of_metrics]).unwrap(), Protocol::Grpc);
    let empty = (of_metrics.0, "");
    let error = protocol(&[], &[wrong, empty]).unwrap_err().to_string();
    assert!(error.contains("OTEL_EXPORTER_OTLP_PROTOCOL=nonsense: give one of grpc"), "{error}");
    // `debug dump` exports nothing.
    assert!(protocol(&["debug", "dump"], &[wrong]).is_ok());
}

#[test]
fn tls_is_a_flag_that_may_carry_a_value() {
    let tls = |arguments: &[&str]| parsed(arguments, &[]).map(|parsed| parsed.cli.export.tls);
    assert_eq!(tls(&[]).unwrap(), None);
    assert_eq!(tls(&["--tls"]).unwrap(), Some(true));
    assert_eq!(tls(&["--tls", "--once"]).unwrap(), Some(true));
    assert_eq!(tls(&["--tls=off"]).unwrap(), Some(false));
    assert!(tls(&["--tls=maybe"]).is_err());
}

#[test]
fn flags_may_stand_on_either_side_of_the_command() {
    for arguments in
        [["debug", "dump", "--json", "--sample", "2"], ["--sample", "2", "debug", "dump", "--json"]]
    {
        let cli = cli(&arguments);
        assert_eq!(cli.sample.sample, Duration::from_secs(2));
        assert!(matches!(cli.command, Some(Command::Debug(Debug::Dump(Dump { json: true, .. })))));
    }
    assert_eq!(cli(&["--endpoint", "http://a", "check"]).export.endpoint.unwrap(), "http://a");
    assert_eq!(cli(&["--process", "x", "check", "--process", "y"]).common.process, ["x", "y"]);
}

#[test]
fn a_command_refuses_flags_that_are_not_its_own() {
    for arguments in [&["debug", "dump", "--endpoint", "http://a"][..], &["check", "--once"], &["--json"]] {
        assert!(parsed(arguments, &[]).is_err(), "{arguments:?}");
    }
    // The service's flags all go with `check`.
    let of_service = ["check", "--interval", "5", "--per-process", "--log-file", "/a", "--names", "both"];
    assert_eq!(cli(&of_service).interval.interval, Duration::from_secs(5));
}

#[test]
fn the_earlier_names_work() {
    assert!(cli(&["--run-once"]).once);
    assert_eq!(cli(&["--once", "--log-level=DEBUG"]).log.log_level, LogLevel::Debug);
    assert_eq!(cli(&["--once", "--log-level", "warn"]).log.log_level, LogLevel::Warning);
    let parsed = parsed(&["--capacity", "7", "--max-processes=3", "check"], &[]).unwrap();
    assert_eq!(parsed.cli.common.max_tracked_processes, 7);
    assert_eq!((parsed.cli.export.max_series_processes, parsed.warnings.len()), (3, 2));
}

#[test]
fn every_setting_is_known_with_its_origin_and_without_secrets() {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@a"), ("USE_TLS", "no")];
    let settings = parsed(&["check", "--process", "a", "--process", "b"], &variables).unwrap().settings;
    let of = |name: &str| {
        let setting = settings.iter().find(|setting| setting.name == name)?;
        Some(format!("{} {}", setting.value, setting.origin))
    };
    assert_eq!(of("--process").unwrap(), "a, b flag");
    assert_eq!(of("--endpoint").unwrap(), "http://***@a variable OTEL_EXPORTER_OTLP_ENDPOINT");
    assert_eq!(of("--tls").unwrap(), "no variable USE_TLS");
    assert_eq!(of("--interval").unwrap(), "60 default");
    assert_eq!(of("--ca-cert"), None);
    assert_eq!(of("--json"), None);
}

#[test]
fn short_help_fits_a_screen() {
    let help = command().term_width(100).render_help().to_string();
    assert!(help.lines().count() <= 40 && help.lines().all(|line| line.chars().count() <= 100), "{help}");
}
