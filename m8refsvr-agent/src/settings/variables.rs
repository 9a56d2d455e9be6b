//! The environment's variables for exporting that have no flag.

use std::{ffi::OsString, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::export::ExportSettingsError;
use crate::export::otlp::Compression;

/// What says how the body is to be read.
const OWN_HEADERS: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "grpc-encoding",
    "grpc-timeout",
    "host",
    "te",
    "transfer-encoding",
    "user-agent",
];
/// A day, in milliseconds.
const LONGEST_TIMEOUT: u64 = 86_400_000;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads variables; one that is empty is not set.
pub(super) struct Variables<F>(pub(super) F);

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    /// One of them.
    pub(super) fn get(&self, name: &str) -> Result<Option<String>, ExportSettingsError> {
        let value = self.0(name).filter(|value| !value.is_empty()).map(OsString::into_string);
        value.transpose().map_err(|_| wrong(name, "it is not UTF-8"))
    }

    /// One of OTLP's, by the end of its name; that of metrics alone wins. With its whole name.
    pub(super) fn otlp(&self, end: &str) -> Result<Option<(String, String)>, ExportSettingsError> {
        for name in [format!("OTEL_EXPORTER_OTLP_METRICS_{end}"), format!("OTEL_EXPORTER_OTLP_{end}")] {
            if let Some(value) = self.get(&name)? {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    /// The headers of each request, and a list of them with their values masked.
    pub(super) fn headers(&self) -> Result<(HeaderMap, String), ExportSettingsError> {
        match self.otlp("HEADERS")? {
            Some((name, text)) => headers(&text).map_err(|reason| wrong(&name, &reason)),
            None => Ok((HeaderMap::new(), "none".into())),
        }
    }

    /// The time that an export may take.
    pub(super) fn timeout(&self) -> Result<Duration, ExportSettingsError> {
        let Some((name, text)) = self.otlp("TIMEOUT")? else { return Ok(DEFAULT_TIMEOUT) };
        let milliseconds = text.trim().parse().ok().filter(|it| (1..=LONGEST_TIMEOUT).contains(it));
        let reason = || format!("{text:?} is no timeout: give milliseconds, from 1 to {LONGEST_TIMEOUT}");
        milliseconds.map(Duration::from_millis).ok_or_else(|| wrong(&name, &reason()))
    }

    /// How requests are compressed.
    pub(super) fn compression(&self) -> Result<Compression, ExportSettingsError> {
        let Some((name, text)) = self.otlp("COMPRESSION")? else { return Ok(Compression::Gzip) };
        match text.trim().to_ascii_lowercase().as_str() {
            "gzip" => Ok(Compression::Gzip),
            "none" => Ok(Compression::None),
            _ => Err(wrong(&name, &format!("{text:?} is unknown: give gzip or none"))),
        }
    }
}

fn wrong(name: &str, reason: &str) -> ExportSettingsError {
    ExportSettingsError::Variable { name: name.into(), reason: reason.into() }
}

fn headers(text: &str) -> Result<(HeaderMap, String), String> {
    let mut headers = HeaderMap::new();
    let mut masked = Vec::new();
    for text in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let (name, value) = header(text).ok_or("give name=value,name=value, percent-encoded where needed")?;
        if OWN_HEADERS.contains(&name.as_str()) {
            return Err(format!("the agent sets {name} by itself: leave it out"));
        }
        masked.push(format!("{name}=***"));
        headers.insert(name, value);
    }
    Ok((headers, masked.join(",")))
}

fn header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}
