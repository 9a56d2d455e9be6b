//! What the user's words mean: checked once, so that nothing behind it needs to check again.

mod endpoint;
pub mod export;
mod variables;

use std::{path::PathBuf, time::Duration};

use clap::parser::ValueSource;

use crate::{
    cli::{Common, Ebpf},
    kernel::Options,
    selector::{Selector, SelectorError},
};

/// The settings of every command.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which processes to watch.
    pub selector: Selector,
    /// Time between the two looks of one document or dump.
    pub sample: Duration,
    /// Time from one look to the next.
    pub interval: Duration,
    /// Whether to count in the kernel.
    pub ebpf: Ebpf,
    /// How to.
    pub kernel: Options,
    /// The /proc to look at.
    pub proc_root: PathBuf,
    /// Where the BPF file system is.
    pub bpf_fs: PathBuf,
}

impl Settings {
    /// From the command line; `process` says where the process names came from.
    pub fn new(
        common: &Common,
        process: Option<ValueSource>,
        interval: Duration,
    ) -> Result<Self, SelectorError> {
        let names: Vec<String> = match process {
            // An expression alone replaces the default name.
            Some(ValueSource::DefaultValue) if !common.process_regex.is_empty() => Vec::new(),
            Some(ValueSource::EnvVariable) => common
                .process
                .iter()
                .flat_map(|names| names.split(','))
                .map(|name| name.trim().to_owned())
                .collect(),
            _ => common.process.clone(),
        };
        let selector = Selector::new(&names, &common.process_regex)?;
        Ok(Self {
            sample: common.sample,
            interval,
            ebpf: common.ebpf,
            kernel: Options {
                capacity: common.capacity,
                bpf_fs: Some(common.bpf_fs.clone()),
                comms: selector.comms(),
                proc_root: common.proc_root.clone(),
                ..Options::default()
            },
            selector,
            proc_root: common.proc_root.clone(),
            bpf_fs: common.bpf_fs.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn patterns(arguments: &[&str], process: ValueSource) -> Result<Vec<String>, SelectorError> {
        let cli = Cli::try_parse_from(["agent"].iter().chain(arguments)).unwrap();
        let settings = Settings::new(&cli.common, Some(process), cli.interval)?;
        Ok(settings.selector.patterns().map(str::to_owned).collect())
    }

    #[test]
    fn without_names_the_default_is_watched_unless_there_is_an_expression() {
        assert_eq!(patterns(&[], ValueSource::DefaultValue).unwrap(), ["M8RefSvr"]);
        assert_eq!(patterns(&["--process-regex", "a|b"], ValueSource::DefaultValue).unwrap(), ["a|b"]);
    }

    #[test]
    fn names_add_up_and_a_comma_separates_them_in_the_variable_alone() {
        let names = ["--process", "a,b", "--process", "c"];
        assert_eq!(patterns(&names, ValueSource::CommandLine).unwrap(), ["a,b", "c"]);
        assert_eq!(patterns(&["--process", "a, b"], ValueSource::EnvVariable).unwrap(), ["a", "b"]);
        assert!(patterns(&["--process", "a,,b"], ValueSource::EnvVariable).is_err());
    }
}
