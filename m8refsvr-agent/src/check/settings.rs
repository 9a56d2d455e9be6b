//! Every setting in force, with where it came from and without secrets.

use std::ffi::OsString;

use crate::{
    cli::{Origin, Setting},
    logging::escape::without_secrets,
};

/// How the value of a variable is shown.
#[derive(Clone, Copy)]
enum Shown {
    Whole,
    Url,
    /// Not at all: a header that is written wrong could have its secret anywhere.
    Masked,
}

/// Variables that have no flag.
const WITHOUT_FLAG: [(&str, Shown); 22] = [
    ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", Shown::Masked),
    ("OTEL_EXPORTER_OTLP_HEADERS", Shown::Masked),
    ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", Shown::Masked),
    ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", Shown::Whole),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", Shown::Whole),
    ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", Shown::Whole),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", Shown::Whole),
    ("OTEL_EXPORTER_OTLP_METRICS_INSECURE", Shown::Whole),
    ("OTEL_EXPORTER_OTLP_INSECURE", Shown::Whole),
    ("OTEL_RESOURCE_ATTRIBUTES", Shown::Whole),
    ("OTEL_SERVICE_NAME", Shown::Whole),
    ("OTEL_METRICS_EXPORTER", Shown::Whole),
    ("OTEL_LOGS_EXPORTER", Shown::Whole),
    ("OTEL_SDK_DISABLED", Shown::Whole),
    ("https_proxy", Shown::Url),
    ("HTTPS_PROXY", Shown::Url),
    ("http_proxy", Shown::Url),
    ("HTTP_PROXY", Shown::Url),
    ("all_proxy", Shown::Url),
    ("ALL_PROXY", Shown::Url),
    ("no_proxy", Shown::Url),
    ("NO_PROXY", Shown::Url),
];

/// Those with a flag, and the variables without one that are set.
pub fn in_force(with_flag: &[Setting], variable: impl Fn(&str) -> Option<OsString>) -> Vec<Setting> {
    let without_flag = WITHOUT_FLAG.iter().filter_map(|&(name, shown)| {
        let value = variable(name).filter(|value| !value.is_empty())?;
        let value = value.to_string_lossy();
        let value = match shown {
            Shown::Whole => value.into_owned(),
            Shown::Url => without_secrets(&value),
            Shown::Masked => "***".to_owned(),
        };
        Some(Setting { name: name.into(), value, origin: Origin::Variable(name) })
    });
    // The variable of log records is a setting with a flag.
    let is_new = |setting: &Setting| with_flag.iter().all(|known| known.origin != setting.origin);
    with_flag.iter().cloned().chain(without_flag.filter(is_new)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_without_a_flag_are_shown_without_secrets_and_none_twice() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Basic secret=="),
            ("HTTPS_PROXY", "http://user:secret@proxy:3128"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("OTEL_SDK_DISABLED", ""),
            ("OTEL_LOGS_EXPORTER", "otlp"),
        ];
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let exits = Setting {
            name: "--export-exits".into(),
            value: "otlp".into(),
            origin: Origin::Variable("OTEL_LOGS_EXPORTER"),
        };
        let shown: Vec<String> = in_force(&[exits], variable)
            .into_iter()
            .map(|Setting { name, value, .. }| format!("{name} {value}"))
            .collect();
        let expected = [
            "--export-exits otlp",
            "OTEL_EXPORTER_OTLP_HEADERS ***",
            "OTEL_SERVICE_NAME mine",
            "HTTPS_PROXY http://***@proxy:3128",
        ];
        assert_eq!(shown, expected);
    }
}
