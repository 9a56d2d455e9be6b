//! The proxy that the environment names for a receiver, by the rules of curl. Opens no connection.

use std::{ffi::OsString, fmt, net::IpAddr};

use http::{HeaderValue, Uri, uri::Scheme};
use hyper_util::client::proxy::matcher::Matcher;
use thiserror::Error;

use crate::logging::escape::without_secrets;

/// The port of a proxy whose URL has none.
const PORT: u16 = 80;

/// A proxy that is spoken to in HTTP without TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http://host:port`, without credentials.
    pub uri: Uri,
    /// `Proxy-Authorization`; marked as sensitive.
    pub authorization: Option<HeaderValue>,
    /// The variable that names it.
    pub variable: &'static str,
}

/// Why a proxy that the environment names can't be used.
#[derive(Debug, Error)]
#[error("{variable}={url}: {reason}; give a proxy such as http://proxy.example:3128")]
pub struct ProxyError {
    variable: &'static str,
    url: String,
    reason: &'static str,
}

impl Proxy {
    /// The proxy for this endpoint. The variable of the endpoint's scheme wins over the one for all schemes, and a
    /// name in lower case over the same in upper case. An empty variable counts as not set.
    pub fn of(
        endpoint: &Uri,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, ProxyError> {
        let set =
            |name: &'static str| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
        let of_scheme = if endpoint.scheme() == Some(&Scheme::HTTPS) {
            ["https_proxy", "HTTPS_PROXY"]
        } else {
            ["http_proxy", "HTTP_PROXY"]
        };
        let names = of_scheme.into_iter().chain(["all_proxy", "ALL_PROXY"]);
        let Some((name, value)) = names.filter_map(set).next() else { return Ok(None) };
        let excepted = ["no_proxy", "NO_PROXY"].into_iter().find_map(set).unwrap_or_default().1;
        if is_this_machine(endpoint) || is_excepted(endpoint, &excepted.to_string_lossy()) {
            return Ok(None);
        }
        let shown = without_secrets(&value.to_string_lossy());
        let wrong = |reason| ProxyError { variable: name, url: shown.clone(), reason };
        let text = value.to_str().ok_or_else(|| wrong("it is not UTF-8"))?;
        let (uri, authorization) = parse(text.trim(), endpoint).map_err(wrong)?;
        Ok(Some(Self { uri, authorization, variable: name }))
    }

    /// The URL with masked credentials and the variable, for logs and messages.
    pub fn shown(&self) -> String {
        let user = if self.authorization.is_some() { "***@" } else { "" };
        let place = self.uri.authority().map(ToString::to_string).unwrap_or_default();
        format!("http://{user}{place} ({})", self.variable)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proxy({})", self.shown())
    }
}

/// Whether the endpoint is on loopback, which is never reached by a proxy.
fn is_this_machine(endpoint: &Uri) -> bool {
    let host = endpoint.host().unwrap_or_default().trim_end_matches('.');
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    match plain.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => plain.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether `NO_PROXY` names the endpoint. Entries may be separated by blanks too, as curl allows.
fn is_excepted(endpoint: &Uri, excepted: &str) -> bool {
    let entries: Vec<&str> = excepted.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).collect();
    // The matcher takes a star for all names, but for no address.
    if entries.contains(&"*") {
        return true;
    }
    let any = Matcher::builder().all("http://proxy.invalid").no(entries.join(",")).build();
    any.intercept(endpoint).is_none()
}

/// `http://host:port`, and the header with its credentials. The error says what is wrong.
fn parse(text: &str, endpoint: &Uri) -> Result<(Uri, Option<HeaderValue>), &'static str> {
    let (scheme, place) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err("only proxies that are spoken to in HTTP without TLS are possible");
    }
    let url: Uri = format!("http://{place}").parse().map_err(|_| "it is not a URL")?;
    let authority = url.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.ok_or("there is no host in it")?.as_str();
    if authority.matches('@').count() > 1 {
        return Err("an @ in a password is written %40");
    }
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    // A place that is longer than its host has a port, even if it can't be parsed.
    let host = url.host().unwrap_or_default();
    let port = match (url.port_u16(), place.len() > host.len()) {
        (Some(port), true) if port > 0 => port,
        (None, false) => PORT,
        _ => return Err("the port must be from 1 to 65535"),
    };
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(format!("{host}:{port}")).path_and_query("/");
    let uri = uri.build().map_err(|_| "it is not a URL")?;
    let proxy = Matcher::builder().all(format!("http://{authority}")).build().intercept(endpoint);
    let authorization = proxy.ok_or("it is not a URL")?.basic_auth().cloned();
    Ok((uri, authorization))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(endpoint: &str, variables: &[(&str, &str)]) -> Result<Option<Proxy>, String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        Proxy::of(&endpoint.parse().unwrap(), variable).map_err(|error| error.to_string())
    }

    /// Which variable names the proxy for an endpoint.
    fn chosen(endpoint: &str, variables: &[(&str, &str)]) -> Option<&'static str> {
        of(endpoint, variables).unwrap().map(|proxy| proxy.variable)
    }

    const PLAIN: &str = "http://collector:4317/";
    const TLS: &str = "https://collector:4317/";

    #[test]
    fn the_variable_of_the_scheme_wins_and_lower_case_over_upper() {
        let all = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
        let all = all.map(|name| (name, "http://proxy:3128"));
        assert_eq!(chosen(TLS, &all), Some("https_proxy"));
        assert_eq!(chosen(TLS, &all[1..]), Some("HTTPS_PROXY"));
        assert_eq!(chosen(TLS, &all[2..]), Some("all_proxy"));
        assert_eq!(chosen(PLAIN, &all), Some("http_proxy"));
        assert_eq!(chosen(PLAIN, &all[3..]), Some("HTTP_PROXY"));
        assert_eq!(chosen(PLAIN, &all[5..]), Some("ALL_PROXY"));
        assert_eq!(chosen(PLAIN, &[]), None);
        let empty = [("https_proxy", ""), ("HTTPS_PROXY", "http://proxy:3128")];
        assert_eq!(chosen(TLS, &empty), Some("HTTPS_PROXY"));
    }

    #[test]
    fn this_machine_is_never_reached_by_a_proxy() {
        let all = [("ALL_PROXY", "http://proxy:3128")];
        for host in ["localhost", "LocalHost.", "127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]"] {
            assert_eq!(chosen(&format!("http://{host}:4317/"), &all), None, "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]"] {
            assert_eq!(chosen(&format!("http://{host}:4317/"), &all), Some("ALL_PROXY"), "{host}");
        }
    }

    #[test]
    fn no_proxy_has_names_with_all_below_them_and_addresses_with_networks() {
        let is_excepted = |host: &str, excepted: &str| {
            let variables = [("ALL_PROXY", "http://proxy:3128"), ("NO_PROXY", excepted)];
            chosen(&format!("http://{host}:4317/"), &variables).is_none()
        };
        for (host, excepted) in [
            ("a.example", "b.example, a.example"),
            ("a.example", "b.example a.example"),
            ("x.a.example", "a.example"),
            ("x.a.example", ".a.example"),
            ("A.example", "a.EXAMPLE"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("[fd00::1]", "fd00::/8"),
            ("a.example", "*"),
        ] {
            assert!(is_excepted(host, excepted), "{host} {excepted}");
        }
        for (host, excepted) in [("xa.example", "a.example"), ("11.1.2.3", "10.0.0.0/8"), ("a.example", "")] {
            assert!(!is_excepted(host, excepted), "{host} {excepted}");
        }
        let all = [("ALL_PROXY", "http://proxy:1"), ("no_proxy", "a, *")];
        assert_eq!(chosen("http://192.0.2.1:4317/", &all), None);
        let both = [("ALL_PROXY", "http://proxy:1"), ("no_proxy", "other"), ("NO_PROXY", "*")];
        assert_eq!(chosen(PLAIN, &both), Some("ALL_PROXY"));
        // A proxy that is not used is not parsed.
        assert_eq!(chosen(PLAIN, &[("ALL_PROXY", "socks5://proxy"), ("NO_PROXY", "*")]), None);
    }

    #[test]
    fn a_proxy_is_shown_without_its_credentials() {
        let proxy = of(TLS, &[("HTTPS_PROXY", "http://user:s%40cret@proxy:3128/")]).unwrap().unwrap();
        assert_eq!(proxy.uri, "http://proxy:3128/");
        let authorization = proxy.authorization.clone().unwrap();
        assert_eq!(
            (authorization.to_str().unwrap(), authorization.is_sensitive()),
            ("Basic dXNlcjpzQGNyZXQ=", true)
        );
        assert_eq!(proxy.shown(), "http://***@proxy:3128 (HTTPS_PROXY)");
        assert!(
            !format!("{proxy:?}").contains("cret") && !format!("{proxy:?}").contains("dXNl"),
            "{proxy:?}"
        );
        for (value, expected) in [
            ("proxy:3128", "http://proxy:3128/"),
            (" HTTP://proxy ", "http://proxy:80/"),
            ("[fd00::1]:3128", "http://[fd00::1]:3128/"),
            ("user@10.0.0.1", "http://10.0.0.1:80/"),
        ] {
            assert_eq!(of(TLS, &[("HTTPS_PROXY", value)]).unwrap().unwrap().uri, expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_proxy_names_its_variable_and_no_secret() {
        for (value, reason) in [
            ("https://user:secret@proxy:3128", "in HTTP without TLS"),
            ("socks5h://user:secret@proxy:1080", "in HTTP without TLS"),
            ("http://user:se@secret@proxy", "%40"),
            ("http://user:secret@proxy:0", "from 1 to 65535"),
            ("http://user:secret@proxy:99999", "from 1 to 65535"),
            ("http://user:sec/ret@secret", ""),
            ("http://user:secret@", "not a URL"),
            ("http://", "not a URL"),
            ("a b", "not a URL"),
        ] {
            let error = of(TLS, &[("HTTPS_PROXY", value)]).unwrap_err();
            assert!(error.starts_with("HTTPS_PROXY=") && error.contains(reason), "{value}: {error}");
            assert!(error.contains("give a proxy such as http://"), "{value}: {error}");
            assert!(!error.contains("user") && !error.contains(":secret"), "{value}: {error}");
        }
    }
}
