//! The address to send to, from a URL and what else the user said of it.

use std::net::Ipv6Addr;

use http::{Uri, uri::Scheme};

use super::export::ExportSettingsError;
use crate::logging::escape::without_secrets;

/// Where metrics go on a receiver that takes all signals.
const METRICS_PATH: &str = "/v1/metrics";

/// What was said of TLS beside the endpoint.
pub(super) struct Security {
    /// By `--tls` or its variable.
    pub(super) tls: Option<bool>,
    /// Which of them.
    pub(super) tls_setting: String,
    /// By a variable for endpoints without a scheme.
    pub(super) is_insecure: Option<bool>,
}

/// The address to send to. `setting` is what named it; `as_it_is` is for HTTP alone: whether the path is complete.
pub(super) fn endpoint(
    url: &str,
    setting: &str,
    security: &Security,
    as_it_is: Option<bool>,
) -> Result<Uri, ExportSettingsError> {
    let no_endpoint = |reason: &'static str, right: String| {
        let (setting, url) = (setting.to_owned(), without_secrets(url));
        ExportSettingsError::Endpoint { setting, url, reason, right }
    };
    let wrong = |reason| no_endpoint(reason, "a URL such as http://localhost:4317".into());
    let url_text = url.trim();
    if url_text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("unix:")) {
        return Err(wrong("receivers are not reached by sockets in the file system"));
    }
    let (scheme, place) = url_text.split_once("://").unwrap_or(match (security.tls, security.is_insecure) {
        (Some(true), _) | (None, Some(false)) => ("https", url_text),
        _ => ("http", url_text),
    });
    if let Some(place) = in_brackets(place) {
        return Err(no_endpoint("an IPv6 address stands in brackets", format!("{scheme}://{place}")));
    }
    let uri: Uri = format!("{scheme}://{place}").parse().map_err(|_| wrong("it is not a URL"))?;
    let scheme = match (uri.scheme_str(), security.tls) {
        (Some("https"), Some(false)) => {
            let (setting, url, tls) =
                (setting.to_owned(), without_secrets(url), security.tls_setting.clone());
            return Err(ExportSettingsError::TlsForbidden { setting, url, tls });
        }
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

/// What an IPv6 address that stands in no brackets should have been: with them around all but a port.
fn in_brackets(place: &str) -> Option<String> {
    let end = place.find(['/', '?', '#']).unwrap_or(place.len());
    let (host, path) = place.split_at(end);
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    match host.rsplit_once(':') {
        // Read as an address alone it may have a meaning too, but who writes a port there means it.
        Some((address, port)) if is_address(address) && port.parse::<u16>().is_ok() => {
            Some(format!("[{address}]:{port}{path}"))
        }
        _ if is_address(host) => Some(format!("[{host}]{path}")),
        _ => None,
    }
}

/// The address of an Instana agent.
pub(super) fn of_agent(
    host: &str,
    port: u16,
    setting: &str,
    port_setting: &str,
    security: &Security,
    as_it_is: Option<bool>,
) -> Result<Uri, ExportSettingsError> {
    let host = host.trim();
    let wrong = |reason: String| {
        let (setting, host) = (setting.to_owned(), without_secrets(host));
        ExportSettingsError::AgentHost { setting, host, reason }
    };
    if host.contains(['/', '?', '#', '@']) {
        return Err(wrong("give a name or an address alone, or a URL by --endpoint".into()));
    }
    // An IPv6 address stands in brackets.
    let is_address = host.parse::<Ipv6Addr>().is_ok();
    if host.contains(':') && !is_address && !host.starts_with('[') {
        return Err(wrong(format!("it takes no port, give it by {port_setting}")));
    }
    let host = if is_address { format!("[{host}]") } else { host.to_owned() };
    endpoint(&format!("{host}:{port}"), setting, security, as_it_is)
}
