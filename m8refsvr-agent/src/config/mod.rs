//! Flags and variables, turned into checked values: nothing that gets a value from here needs to check it again.

mod endpoint;
mod error;
pub mod export;
mod export_env;
#[cfg(test)]
mod export_tests;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use crate::{
    bpf::Options,
    cli::{Cli, Common, Ebpf, Origins, values::interval_in_milliseconds, variables::METRIC_EXPORT_INTERVAL},
    export::otlp::{FileOfTls, TlsError},
    tracker::selector::Selector,
};
pub use error::{ExportSettingsError, SettingsError};

/// The settings that all commands share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which processes are tracked.
    pub selector: Selector,
    /// Time between the two collections of `--once` and `debug dump`.
    pub sample: Duration,
    /// Time between two collections of the service.
    pub interval: Duration,
    /// Whether to count in the kernel by BPF programs.
    pub ebpf: Ebpf,
    /// How the BPF programs are loaded.
    pub kernel: Options,
    /// The /proc that is read.
    pub proc_root: PathBuf,
    /// The mount point of the BPF file system.
    pub bpf_fs: PathBuf,
    /// The flag or variable that each value came from.
    pub origins: Origins,
}

impl Settings {
    /// From the command line and the environment. Reads no files.
    pub fn new(
        cli: &Cli,
        origins: &Origins,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SettingsError> {
        let common = &cli.common;
        let selector = selector(common, origins)?;
        Ok(Self {
            sample: cli.sample.sample,
            interval: interval(cli, origins, variable)?,
            ebpf: common.ebpf,
            kernel: Options {
                capacity: common.max_tracked_processes,
                bpf_fs: Some(common.bpf_fs.clone()),
                comms: selector.comms(),
                proc_root: common.proc_root.clone(),
                ..Options::default()
            },
            selector,
            proc_root: common.proc_root.clone(),
            bpf_fs: common.bpf_fs.clone(),
            origins: origins.clone(),
        })
    }

    /// What selects the processes: each pattern with its kind, in an order of their own.
    pub fn selection(&self) -> Vec<String> {
        let mut selection: Vec<String> =
            self.selector.kinds().map(|(kind, text)| format!("{kind} {text}")).collect();
        selection.sort();
        selection
    }

    /// The flag or variable that named the file of an error of TLS.
    pub fn name_of_file(&self, error: &TlsError) -> Option<String> {
        let flag = match error.file()? {
            FileOfTls::Authorities => "ca_cert",
            FileOfTls::Certificate => "client_cert",
            FileOfTls::Key => "client_key",
        };
        Some(self.origins.name(flag))
    }
}

fn selector(common: &Common, origins: &Origins) -> Result<Selector, SettingsError> {
    let Some(name) = origins.variable("process") else {
        // A regular expression without a name replaces the default name.
        let is_default = !origins.is_flag("process") && !common.process_regex.is_empty();
        let names = if is_default { &[] } else { common.process.as_slice() };
        return Ok(Selector::new(names, &common.process_regex)?);
    };
    let mut names: Vec<String> =
        common.process.iter().flat_map(|names| names.split(',')).map(trimmed).collect();
    // A comma left at the end is forgiven.
    if names.len() > 1 && names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    // Checked without the expressions first: then an error is about the names, and so about the variable.
    Selector::new(&names, &[])
        .map_err(|error| SettingsError::Variable { name, reason: error.to_string() })?;
    Ok(Selector::new(&names, &common.process_regex)?)
}

fn trimmed(name: &str) -> String {
    name.trim().to_owned()
}

fn interval(
    cli: &Cli,
    origins: &Origins,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Duration, SettingsError> {
    if origins.variable("interval") != Some(METRIC_EXPORT_INTERVAL) {
        return Ok(cli.interval.interval);
    }
    let text = variable(METRIC_EXPORT_INTERVAL).unwrap_or_default();
    let text = text.to_string_lossy();
    interval_in_milliseconds(&text).map_err(|reason| SettingsError::Variable {
        name: METRIC_EXPORT_INTERVAL,
        reason: format!("{text:?} is no interval: {reason}"),
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;

    /// `variables` stands for the environment, which all tests of a process share.
    fn settings(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let matches = Cli::command().get_matches_from(["agent"].iter().chain(arguments));
        let mut cli = Cli::from_arg_matches(&matches).unwrap();
        let origins = Origins::new(&matches, variable);
        if origins.variable("process").is_some() {
            cli.common.process = vec![variable("PROCESS_NAME").unwrap().into_string().unwrap()];
        }
        Settings::new(&cli, &origins, variable).map_err(|error| error.to_string())
    }

    fn patterns(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        settings(arguments, variables).map(|it| it.selector.patterns().map(str::to_owned).collect())
    }

    #[test]
    fn without_names_the_default_is_tracked_unless_there_is_an_expression() {
        assert_eq!(patterns(&[], &[]).unwrap(), ["M8RefSvr"]);
        assert_eq!(patterns(&["--process-regex", "a|b"], &[]).unwrap(), ["a|b"]);
    }

    #[test]
    fn names_add_up_and_a_comma_separates_them_in_the_variable_alone() {
        let names = |value| [("PROCESS_NAME", value)];
        assert_eq!(patterns(&["--process", "a,b", "--process", "c"], &[]).unwrap(), ["a,b", "c"]);
        assert_eq!(patterns(&[], &names("a, b")).unwrap(), ["a", "b"]);
        assert_eq!(patterns(&["--process-regex", "c"], &names("a, b")).unwrap(), ["a", "b", "c"]);
        assert_eq!(patterns(&["--process", "a,b"], &names("c")).unwrap(), ["a,b"]);
    }

    #[test]
    fn a_comma_at_the_end_is_forgiven_and_an_empty_name_elsewhere_names_the_variable() {
        let names = |value| patterns(&[], &[("PROCESS_NAME", value)]);
        assert_eq!(names("a, b, ").unwrap(), ["a", "b"]);
        assert_eq!(names("a,").unwrap(), ["a"]);
        for wrong in ["a,,b", ",a", ",", " ", "a,,", "/opt/a"] {
            let error = names(wrong).unwrap_err();
            assert!(error.starts_with("PROCESS_NAME: "), "{wrong}: {error}");
        }
        // An expression has no variable.
        let error = patterns(&["--process-regex", "("], &[("PROCESS_NAME", "a")]).unwrap_err();
        assert!(!error.contains("PROCESS_NAME"), "{error}");
    }

    #[test]
    fn the_interval_of_opentelemetry_is_in_milliseconds_and_comes_last() {
        let of_otel = (METRIC_EXPORT_INTERVAL, "2500");
        let interval = |arguments: &[&str], variables: &[(&str, &str)]| {
            settings(arguments, variables).map(|settings| settings.interval)
        };
        assert_eq!(interval(&[], &[of_otel]).unwrap(), Duration::from_millis(2500));
        assert_eq!(interval(&["--interval", "5"], &[of_otel]).unwrap(), Duration::from_secs(5));
        // COLLECTION_INTERVAL is read by clap, and becomes the value of the flag.
        assert_eq!(
            interval(&[], &[of_otel, ("COLLECTION_INTERVAL", "60")]).unwrap(),
            Duration::from_secs(60)
        );
        for wrong in ["10s", "99", "86400001", "-1", "0.5"] {
            let error = interval(&[], &[(METRIC_EXPORT_INTERVAL, wrong)]).unwrap_err();
            assert!(
                error.starts_with("OTEL_METRIC_EXPORT_INTERVAL: ") && error.contains("milliseconds"),
                "{error}"
            );
        }
    }
}
