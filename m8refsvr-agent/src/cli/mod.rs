//! What the user can type. What it means is decided in `settings`.

pub(crate) mod values;
pub(crate) mod variables;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use values::{capacity, interval, sample, truth};
pub use variables::Given;

use crate::{
    bpf,
    logging::{LogFormat, LogLevel},
};

const AFTER_HELP: &str = "\
Variables without a flag: OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_TIMEOUT (milliseconds), \
OTEL_EXPORTER_OTLP_COMPRESSION (gzip, the default, or none) and OTEL_EXPORTER_OTLP_INSECURE (false means TLS where the \
endpoint has no scheme), each also with METRICS_ before its last word; OTEL_EXPORTER_OTLP_LOGS_HEADERS; \
OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME; OTEL_METRICS_EXPORTER (otlp, the default, or none) and \
OTEL_SDK_DISABLED (true exports nothing); HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, also in lower case. \
OTEL_METRIC_EXPORT_INTERVAL is in milliseconds, and OTEL_LOGS_EXPORTER is otlp or none. A flag wins over its variables, \
and an empty variable counts as not set.

Exit codes: 0 done; 1 no process matches; 2 wrong usage or setting; 3 export failed; 4 the kernel side was \
required and could not start; 5 anything else, such as a full disk, or something that hangs at the end; 129, 130 or \
143 ended by SIGHUP, SIGINT or SIGTERM before the document was complete, or by a second signal.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "m8refsvr-agent",
    version,
    about = "Monitors the processes of MicroStrategy's M8RefSvr, or any others, with eBPF and /proc",
    long_about = "Monitors the processes of MicroStrategy's M8RefSvr, or any others, with eBPF and /proc. Without a \
                  command it looks at them at each interval and exports what it sees by OTLP, until SIGTERM or \
                  SIGINT.",
    after_help = AFTER_HELP,
    max_term_width = 110
)]
pub struct Cli {
    /// Look twice, --sample seconds apart, print one JSON document on standard output, export once, and end
    #[arg(long, visible_alias = "run-once")]
    pub once: bool,

    /// With --once: print the document only, export nothing
    #[arg(long, requires = "once")]
    pub no_export: bool,

    /// Seconds from one collection to the next, from 0.1 to 86400; looks are at whole multiples of it on the clock
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "60",
        value_parser = interval,
        allow_negative_numbers = true
    )]
    pub interval: Duration,

    /// What is exported, and where to.
    #[command(flatten)]
    pub export: Export,

    /// What holds for every command.
    #[command(flatten)]
    pub common: Common,

    /// What to do instead of monitoring.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is exported, and where to.
#[derive(Args, Debug)]
#[command(next_help_heading = "Export")]
pub struct Export {
    /// Names of the metrics: OpenTelemetry's semantic conventions, the earlier Python plugin's, or both
    #[arg(long, global = true, value_name = "VOCABULARY", default_value = "otel")]
    pub names: Names,

    /// A resource with series for each process, instead of sums for each pattern
    #[arg(long, global = true)]
    pub per_process: bool,

    /// With --per-process: so many processes at most, those with the most CPU time; the others are summed up
    #[arg(
        long,
        global = true,
        value_name = "PROCESSES",
        default_value = "200",
        value_parser = clap::value_parser!(u32).range(1..),
        allow_negative_numbers = true
    )]
    pub max_series_processes: u32,

    /// With --per-process: where process.pid and process.executable.name stand
    #[arg(long, global = true, value_name = "PLACE", default_value = "resource")]
    pub process_attributes: ProcessAttributes,

    /// With --per-process: also process.command_line, all arguments of each process, which can hold passwords and other
    /// secrets
    #[arg(long, global = true)]
    pub with_command_line: bool,

    /// Send each process exit as an OTLP log record too; in the variable: otlp or none
    #[arg(long, global = true)]
    pub export_exits: bool,

    /// Protocol of OTLP
    #[arg(long, global = true, value_name = "PROTOCOL", default_value = "grpc")]
    pub protocol: Protocol,

    /// The receiver, such as http://collector:4317; with http/protobuf, /v1/metrics is added unless it ends with
    /// that
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Option<String>,

    /// Host of the Instana agent, instead of --endpoint
    #[arg(long, global = true, value_name = "HOST", default_value = "localhost")]
    pub agent_host: String,

    /// Port of the Instana agent [default: 4317, or 4318 with http/protobuf]
    #[arg(
        long,
        global = true,
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..),
        allow_negative_numbers = true
    )]
    pub agent_port: Option<u16>,

    /// Send over TLS: true, 1, yes, on, t, y, or their opposites [default: as the URL's scheme says, or else no]
    #[arg(
        long,
        global = true,
        value_name = "WHETHER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = truth
    )]
    pub tls: Option<bool>,

    /// Certificates of the authorities that sign the receiver's, a PEM file [default: the system's]
    #[arg(long, global = true, value_name = "PATH")]
    pub ca_cert: Option<PathBuf>,

    /// The agent's own certificate for mutual TLS, a PEM file
    #[arg(long, global = true, value_name = "PATH")]
    pub client_cert: Option<PathBuf>,

    /// The key of that certificate, a PEM file
    #[arg(long, global = true, value_name = "PATH")]
    pub client_key: Option<PathBuf>,
}

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Names {
    /// OpenTelemetry's.
    Otel,
    /// The earlier plugin's.
    Instana,
    /// All of them.
    Both,
}

/// Where the attributes that identify a process stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProcessAttributes {
    /// On the resource alone, of which there is one for each process.
    #[default]
    Resource,
    /// On each point as well, for backends that make no labels of a resource's attributes.
    Point,
}

/// Protocols of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP.
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try what the agent needs, and say a line of each: the kernel, rights, processes, the receiver
    Check {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },

    /// Look into the agent
    #[command(subcommand)]
    Debug(Debug),
}

/// Ways to look into the agent.
#[derive(Debug, Subcommand)]
pub enum Debug {
    /// Show the content of the BPF maps: of the running agent, or else of programs loaded for --sample seconds
    Dump {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,

        /// Of the running agent with this process id, where several run
        #[arg(long, value_name = "PID")]
        agent: Option<u32>,
    },
}

/// What holds for every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Processes")]
pub struct Common {
    /// SlotHandle processes with NAME, in any case, in their name, their executable's file name or argv[0]'s
    /// (repeatable; several in the variable are separated by commas)
    #[arg(long, global = true, value_name = "NAME", default_value = "M8RefSvr")]
    pub process: Vec<String>,

    /// SlotHandle processes of which one of these names matches the regular expression RE, case by case (repeatable;
    /// replaces the default name, and adds to those that are given)
    #[arg(long, global = true, value_name = "RE")]
    pub process_regex: Vec<String>,

    /// Seconds between the two collections; CPU usage is known to 10 ms of CPU time, and coarse when this is short
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value = "1",
        value_parser = sample,
        allow_negative_numbers = true
    )]
    pub sample: Duration,

    /// Count in the kernel: if it can be done, or else end with exit code 4, or not at all
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub ebpf: Ebpf,

    /// Processes that the kernel can count for at once, up to 65535
    #[arg(
        long,
        global = true,
        value_name = "PROCESSES",
        default_value_t = m8refsvr_common::slot::DEFAULT_CAPACITY,
        value_parser = capacity,
        allow_negative_numbers = true
    )]
    pub max_tracked_processes: u32,

    /// The /proc to look at, as where the host's is mounted in a container
    #[arg(long, global = true, value_name = "PATH", default_value = "/proc")]
    pub proc_root: PathBuf,

    /// The BPF file system, in which `debug dump` finds the maps of a running agent
    #[arg(long, global = true, value_name = "PATH", default_value = bpf::BPF_FS)]
    pub bpf_fs: PathBuf,

    /// What to log
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        help_heading = "Log",
        default_value = "info",
        ignore_case = true
    )]
    pub log_level: LogLevel,

    /// Append the log to this file, which is opened again on SIGHUP [default: standard error]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Log")]
    pub log_file: Option<PathBuf>,

    /// How to write the log; under systemd, text carries the journal's priorities
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Log", default_value = "text")]
    pub log_format: LogFormat,
}

/// Whether to count in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ebpf {
    /// If it can be done.
    Auto,
    /// Or else end with exit code 4.
    Require,
    /// Never.
    Off,
}

/// The command line, with the variables of this process's environment.
pub fn command() -> clap::Command {
    variables::bind(Cli::command(), |name| std::env::var_os(name))
}

/// The command line of this process, and where its values came from. An error of a variable names the variable.
pub fn parse() -> Result<(Cli, Given), clap::Error> {
    let variable = |name: &str| std::env::var_os(name);
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let matches = command().try_get_matches_from(&arguments).map_err(|error| {
        // What is wrong without any variable is wrong about the command line.
        match variables::bind(Cli::command(), |_| None).try_get_matches_from(&arguments) {
            Err(of_flags) => of_flags,
            Ok(_) => variables::reworded(error, variable),
        }
    })?;
    Ok((Cli::from_arg_matches(&matches)?, Given::new(&matches, variable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_takes_the_first_of_its_variables_that_is_set() {
        let bound = |variables: &[(&str, &str)]| {
            let command = variables::bind(Cli::command(), |name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            });
            let bound: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_env).collect();
            bound.iter().map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(bound(&[]), [""; 0]);
        let both = [("OTEL_EXPORTER_OTLP_PROTOCOL", "a"), ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "b")];
        assert_eq!(bound(&both), ["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"]);
        let empty = [("OTEL_EXPORTER_OTLP_PROTOCOL", "a"), ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "")];
        assert_eq!(bound(&empty), ["OTEL_EXPORTER_OTLP_PROTOCOL"]);
    }

    #[test]
    fn tls_is_a_flag_that_may_carry_a_value() {
        let tls = |arguments: &[&str]| {
            Cli::try_parse_from(["agent"].iter().chain(arguments)).map(|cli| cli.export.tls)
        };
        assert_eq!(tls(&[]).unwrap(), None);
        assert_eq!(tls(&["--tls"]).unwrap(), Some(true));
        assert_eq!(tls(&["--tls", "--once"]).unwrap(), Some(true));
        assert_eq!(tls(&["--tls=off"]).unwrap(), Some(false));
        assert!(tls(&["--tls=maybe"]).is_err());
    }

    #[test]
    fn flags_may_follow_the_command() {
        let cli = Cli::try_parse_from(["agent", "debug", "dump", "--json", "--sample", "2"]).unwrap();
        assert_eq!(cli.common.sample, Duration::from_secs(2));
        assert!(matches!(cli.command, Some(Command::Debug(Debug::Dump { json: true, agent: None }))));
    }

    #[test]
    fn the_earlier_names_work() {
        assert!(Cli::try_parse_from(["agent", "--run-once"]).unwrap().once);
        let cli = Cli::try_parse_from(["agent", "--once", "--log-level=DEBUG"]).unwrap();
        assert_eq!(cli.common.log_level, LogLevel::Debug);
        let cli = Cli::try_parse_from(["agent", "--once", "--log-level", "warn"]).unwrap();
        assert_eq!(cli.common.log_level, LogLevel::Warning);
    }
}
