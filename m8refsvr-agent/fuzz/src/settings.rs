//! Settings of users: flags, variables and files.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use clap::Parser as _;
use m8refsvr_agent::{
    cli::{Cli, Origins, Protocol},
    config::{Settings, export::Export},
    export::otlp::{authorities_in, key_in},
    proc::{identity::Names, system::Host},
    tracker::selector::Selector,
};

use super::parts;

/// An empty command line, parsed once: that takes longer than all else here.
static CLI: LazyLock<Mutex<Cli>> = LazyLock::new(|| Mutex::new(Cli::parse_from(["agent"])));

const DAY: Duration = Duration::from_secs(86_400);

fn export(cli: &Cli, variable: impl Fn(&str) -> Option<OsString>) -> Option<Export> {
    let host = Host { name: "host".into(), id: None };
    match Export::new(&cli.export, &Origins::default(), &host, &[], variable) {
        Ok(export) => Some(export),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

/// Arguments, with zeros between them.
pub(crate) fn command_line(data: &[u8]) {
    let arguments = parts(data).map(|part| OsString::from_vec(part.to_vec()));
    let cli = match Cli::try_parse_from(std::iter::once("agent".into()).chain(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!((Duration::from_millis(100)..=DAY).contains(&cli.interval.interval), "{:?}", cli.interval);
    assert!((Duration::from_millis(10)..=DAY).contains(&cli.sample.sample), "{:?}", cli.sample);
    assert!((1..=65535).contains(&cli.common.max_tracked_processes) && cli.export.max_series_processes > 0);
    assert!(!cli.no_export || cli.once);
    if let Ok(settings) = Settings::new(&cli, &Origins::default(), |_| None) {
        assert!(settings.selector.patterns().all(|pattern| !pattern.is_empty()));
    }
    export(&cli, |_| None);
}

/// The endpoint, and after a zero the host of an agent.
pub(crate) fn endpoint(data: &[u8]) {
    let mut texts = parts(data).map(|text| String::from_utf8_lossy(text).into_owned());
    let (url, host) = (texts.next(), texts.next());
    let mut cli = CLI.lock().unwrap_or_else(PoisonError::into_inner);
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        for tls in [None, Some(true), Some(false)] {
            (cli.export.protocol, cli.export.tls) = (protocol, tls);
            cli.export.endpoint = url.clone().filter(|_| host.is_none());
            cli.export.agent_host = host.clone().unwrap_or_default();
            let Some(export) = export(&cli, |_| None) else { continue };
            let uri = export.receiver.endpoint;
            let scheme = uri.scheme_str().expect("an accepted endpoint has a scheme");
            assert!(scheme == "https" || (scheme == "http" && tls != Some(true)), "{uri}");
            assert_eq!(export.receiver.tls.is_some(), scheme == "https");
            let authority = uri.authority().expect("an accepted endpoint has a host");
            assert!(!authority.host().is_empty() && !authority.as_str().contains('@'), "{uri}");
            assert_ne!(uri.port_u16(), Some(0), "{uri}");
            assert!(protocol == Protocol::Grpc || uri.path().ends_with("/v1/metrics"), "{uri}");
            assert!(!uri.to_string().chars().any(char::is_control), "{uri}");
            // An endpoint that was parsed is parsed to itself again.
            cli.export.endpoint = Some(uri.to_string());
            let again = self::export(&cli, |_| None).expect("an accepted endpoint is accepted again");
            assert_eq!(again.receiver.endpoint, uri);
        }
    }
}

/// The environment's variables without a flag, with zeros between them.
pub(crate) fn variables(data: &[u8]) {
    const NAMES: [&str; 9] = [
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
        "OTEL_SERVICE_NAME",
        "OTEL_EXPORTER_OTLP_TEMPORALITY_PREFERENCE",
        "HTTP_PROXY",
        "NO_PROXY",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    ];
    let values: Vec<_> = parts(data).map(|part| OsString::from_vec(part.to_vec())).collect();
    let variable = |name: &str| values.get(NAMES.iter().position(|known| *known == name)?).cloned();
    let mut cli = CLI.lock().unwrap_or_else(PoisonError::into_inner);
    (cli.export.protocol, cli.export.tls, cli.export.endpoint) = (Protocol::Grpc, None, Some("host".into()));
    let Some(export) = export(&cli, variable) else { return };
    assert!(
        (Duration::from_millis(1)..=DAY).contains(&export.receiver.timeout),
        "{:?}",
        export.receiver.timeout
    );
    if let Some(proxy) = &export.receiver.proxy {
        let authority = proxy.uri.authority().expect("an accepted proxy has a host");
        assert!(!authority.host().is_empty() && !authority.as_str().contains('@'), "{authority}");
        assert!(authority.port_u16().is_some_and(|port| port > 0), "{authority}");
        assert!(proxy.authorization.iter().all(http::HeaderValue::is_sensitive));
    }
    assert!(
        export.receiver.log_headers.values().all(http::HeaderValue::is_sensitive),
        "{:?}",
        export.receiver.log_headers
    );
    let headers = &export.receiver.headers;
    assert!(headers.values().all(http::HeaderValue::is_sensitive), "{headers:?}");
    assert!(!headers.contains_key("content-type") && headers.len() <= data.len());
    match export.masked_headers.as_str() {
        "none" | "" => assert!(headers.is_empty()),
        masked => assert!(masked.split(',').all(|header| header.ends_with("=***")), "{masked}"),
    }
    let attributes: Vec<(&str, &str)> = export.resource.attributes().collect();
    assert!(attributes.iter().all(|(name, _)| !name.is_empty()));
    let mut names: Vec<_> = attributes.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    let service = values.get(4).filter(|value| !value.is_empty()).and_then(|value| value.to_str());
    if let Some(service) = service {
        assert!(attributes.contains(&("service.name", service)), "{attributes:?}");
    }
}

/// Names and expressions in turns, with zeros between them; the first is also what a process is called.
pub(crate) fn names(data: &[u8]) {
    let texts: Vec<String> = parts(data).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    let every_second = |from| texts.iter().skip(from).step_by(2).cloned().collect::<Vec<_>>();
    let (names, expressions) = (every_second(0), every_second(1));
    let selector = match Selector::new(&names, &expressions) {
        Ok(selector) => selector,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(selector.patterns().count() <= texts.len());
    assert!(selector.comms().names.len() <= names.len());
    let called =
        Names { comm: b"M8RefSvr".into(), executable: Some(names[0].clone().into()), ..Names::default() };
    let selected = selector.select(&called);
    // A name is part of itself, whatever is in it; the agent alone is never selected.
    assert!(selected == Some(0) || names[0] == "m8refsvr-agent", "{names:?} {selected:?}");
}

pub(crate) fn certificates(data: &[u8]) {
    let path = Path::new("file.pem");
    // A day on which the certificates of the corpus are in their time.
    let now = UNIX_EPOCH + 21_000 * DAY;
    match authorities_in(data, path, now) {
        Ok(store) => assert!(!store.is_empty() && store.len() <= data.len() / 64),
        Err(error) => assert!(error.to_string().contains("file.pem"), "{error}"),
    }
    match key_in(data, path) {
        Ok(key) => assert!(key.secret_der().len() <= data.len()),
        Err(error) => assert!(error.to_string().contains("file.pem"), "{error}"),
    }
}
