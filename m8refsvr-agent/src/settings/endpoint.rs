//! The address to send to, from a URL and what else the user said of it.

use std::net::Ipv6Addr;

use http::{Uri, uri::Scheme};

use super::export::ExportSettingsError;

/// Where metrics go on a receiver that takes all signals.
const METRICS_PATH: &str = "/v1/metrics";

/// The address to send to. `as_it_is` is for HTTP alone: whether the path is complete.
pub(super) fn endpoint(
    url: &str,
    tls: Option<bool>,
    as_it_is: Option<bool>,
) -> Result<Uri, ExportSettingsError> {
    let wrong = |reason| ExportSettingsError::Endpoint { url: masked(url), reason };
    let url_text = url.trim();
    let has_scheme = url_text.contains("://");
    let with_scheme = if has_scheme { url_text.to_owned() } else { format!("http://{url_text}") };
    let uri: Uri = with_scheme.parse().map_err(|_| wrong("it is not a URL"))?;
    let scheme = match (uri.scheme_str(), tls) {
        (Some("https"), Some(false)) => return Err(ExportSettingsError::TlsForbidden(masked(url))),
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
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = match as_it_is {
        // gRPC names the service by the path itself.
        None => "/".to_owned(),
        Some(true) => uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
        Some(false) => match uri.path().trim_end_matches('/') {
            path if path.ends_with(METRICS_PATH) => format!("{path}{query}"),
            path => format!("{path}{METRICS_PATH}{query}"),
        },
    };
    let whole = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query(path).build();
    whole.map_err(|_| wrong("it is not a URL"))
}

/// A URL for people: without what may be a secret in it.
pub(super) fn masked(url: &str) -> String {
    let (place, query) = url.split_once('?').map_or((url, ""), |(place, _)| (place, "?***"));
    let (scheme, place) = place.split_once("://").map_or(("", place), |(scheme, place)| (scheme, place));
    let (user, host) = place.rsplit_once('@').map_or(("", place), |(_, host)| ("***@", host));
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{user}{host}{query}")
}

/// The address of an Instana agent.
pub(super) fn of_agent(
    host: &str,
    port: u16,
    tls: Option<bool>,
    as_it_is: Option<bool>,
) -> Result<Uri, ExportSettingsError> {
    let host = host.trim();
    if host.contains(['/', '?', '#', '@']) {
        let reason = "--agent-host takes a name or an address alone";
        return Err(ExportSettingsError::Endpoint { url: masked(host), reason });
    }
    // An IPv6 address stands in brackets.
    let is_address = host.parse::<Ipv6Addr>().is_ok();
    if host.contains(':') && !is_address && !host.starts_with('[') {
        let reason = "--agent-host takes no port, give it by --agent-port";
        return Err(ExportSettingsError::Endpoint { url: masked(host), reason });
    }
    let host = if is_address { format!("[{host}]") } else { host.to_owned() };
    endpoint(&format!("{host}:{port}"), tls, as_it_is)
}
