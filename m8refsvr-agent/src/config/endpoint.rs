//! The address of the receiver: by `--endpoint`, or by host and port of an Instana agent.

use std::{ffi::OsString, net::Ipv6Addr};

use http::{Uri, uri::Scheme};

use super::{error::ExportSettingsError, export_env::ExportEnv};
use crate::{
    cli::{self, Origins, variables::METRICS_ENDPOINT},
    logging::escape::without_secrets,
};

/// The path of metrics on a receiver that takes all signals.
const METRICS_PATH: &str = "/v1/metrics";

/// Settings about TLS beside the scheme of the endpoint.
pub(super) struct Security {
    /// `--tls` or its variable.
    tls: Option<bool>,
    /// The one of them that is set.
    tls_setting: String,
    /// `OTEL_EXPORTER_OTLP_INSECURE`, for endpoints without a scheme, with the variable's name.
    pub(super) insecure: Option<(String, bool)>,
}

impl Security {
    /// From the command line and the environment.
    pub(super) fn new<F: Fn(&str) -> Option<OsString>>(
        cli: &cli::Export,
        origins: &Origins,
        env: &ExportEnv<F>,
    ) -> Result<Self, ExportSettingsError> {
        Ok(Self { tls: cli.tls, tls_setting: origins.name("tls"), insecure: env.insecure()? })
    }

    /// The scheme of an endpoint that has none.
    fn default_scheme(&self) -> &'static str {
        match (self.tls, &self.insecure) {
            (Some(true), _) | (None, Some((_, false))) => "https",
            _ => "http",
        }
    }
}

/// The address of the receiver, and a remark for the user about it. `is_http` is whether the protocol is HTTP.
pub(super) fn of_receiver(
    cli: &cli::Export,
    origins: &Origins,
    security: &Security,
    is_http: bool,
) -> Result<(Uri, Option<String>), ExportSettingsError> {
    let agent_by_flag = origins.is_flag("agent_host") || origins.is_flag("agent_port");
    match &cli.endpoint {
        Some(_) if origins.is_flag("endpoint") && agent_by_flag => Err(ExportSettingsError::TwoPlaces),
        Some(url) if origins.is_flag("endpoint") || !agent_by_flag => {
            let setting = origins.name("endpoint");
            let is_of_metrics = origins.variable("endpoint") == Some(METRICS_ENDPOINT);
            let endpoint = parse(url, &setting, security, is_http.then_some(is_of_metrics))?;
            let remark = default_port_remark(&setting, url, &endpoint);
            Ok((endpoint, remark))
        }
        _ => Ok((of_agent(cli, origins, security, is_http)?, None)),
    }
}

/// A remark where the URL has no port: the scheme's is used, which is none of OTLP's.
fn default_port_remark(setting: &str, url: &str, endpoint: &Uri) -> Option<String> {
    if endpoint.port().is_some() {
        return None;
    }
    let port = if endpoint.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let url = without_secrets(url.trim());
    Some(format!("{setting}: {url} has no port: {port} is taken; OTLP's are 4317 and 4318"))
}

/// Parses a URL. `setting` is the flag or variable that has it. `has_whole_path` is `None` for gRPC, and for HTTP
/// whether the path is complete; if it is not, the path of metrics is added.
fn parse(
    url: &str,
    setting: &str,
    security: &Security,
    has_whole_path: Option<bool>,
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
    let (scheme, place) = url_text.split_once("://").unwrap_or((security.default_scheme(), url_text));
    if has_zone(place) {
        return Err(no_endpoint(WITH_ZONE, format!("{scheme}://HOST:PORT with a name or a global address")));
    }
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
    let path = match has_whole_path {
        // gRPC has paths of its own, by the names of services.
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

/// URLs have no place for a zone (RFC 6874 was given up), and the crate `http` accepts none.
const WITH_ZONE: &str = "an IPv6 address with a zone (%) can't stand in a URL";

/// Whether the host is an IPv6 address with a zone, as link-local addresses need one.
fn has_zone(place: &str) -> bool {
    let host = place.split(['/', '?', '#']).next().unwrap_or_default().trim_start_matches('[');
    host.split_once('%').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok())
}

/// An IPv6 address without brackets, with brackets around all but its port; `None` for all else.
fn in_brackets(place: &str) -> Option<String> {
    let end = place.find(['/', '?', '#']).unwrap_or(place.len());
    let (host, path) = place.split_at(end);
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    match host.rsplit_once(':') {
        // `::1:4317` is an address as a whole too, but the last part is most likely meant as a port.
        Some((address, port)) if is_address(address) && port.parse::<u16>().is_ok() => {
            Some(format!("[{address}]:{port}{path}"))
        }
        _ if is_address(host) => Some(format!("[{host}]{path}")),
        _ => None,
    }
}

/// The address of an Instana agent, by `--agent-host` and `--agent-port` or their variables.
fn of_agent(
    cli: &cli::Export,
    origins: &Origins,
    security: &Security,
    is_http: bool,
) -> Result<Uri, ExportSettingsError> {
    let host = cli.agent_host.trim();
    let setting = origins.name("agent_host");
    let wrong = |reason: String| {
        let (setting, host) = (setting.clone(), without_secrets(host));
        ExportSettingsError::AgentHost { setting, host, reason }
    };
    if host.contains(['/', '?', '#', '@']) {
        return Err(wrong("give a name or an address alone, or a URL by --endpoint".into()));
    }
    if has_zone(host) {
        return Err(wrong(format!("{WITH_ZONE}: give a name or a global address")));
    }
    let is_ipv6 = host.parse::<Ipv6Addr>().is_ok();
    if host.contains(':') && !is_ipv6 && !host.starts_with('[') {
        let port_setting = origins.name_beside("agent_host", "agent_port");
        return Err(wrong(format!("it takes no port, give it by {port_setting}")));
    }
    let host = if is_ipv6 { format!("[{host}]") } else { host.to_owned() };
    let port = cli.agent_port.unwrap_or(if is_http { 4318 } else { 4317 });
    parse(&format!("{host}:{port}"), &setting, security, is_http.then_some(false))
}
