//! The sets of flags that commands are made of. Each command flattens those that it takes.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::values::{capacity, instance, interval, sample, truth};
use crate::{
    bpf,
    logging::{LogFormat, LogLevel},
};

/// Taken by every command: which processes, and how to count in the kernel.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Collection")]
pub struct Common {
    /// Part of the names of the processes; repeatable
    ///
    /// A process is tracked if its name, its executable's file name or that in its argv[0] contains NAME, in any case.
    /// A title that it gave itself is no name. The flag can be repeated. In the variable, commas separate several
    /// names.
    #[arg(long, value_name = "NAME", default_value = "M8RefSvr")]
    pub process: Vec<String>,

    /// The same by a regular expression; repeatable
    ///
    /// A process is tracked if one of its names matches the regular expression RE, in which case matters. The flag can
    /// be repeated. It replaces the default of --process, and adds to names that are given.
    #[arg(long, value_name = "RE")]
    pub process_regex: Vec<String>,

    /// The /proc to read, such as the host's mounted in a container
    #[arg(long, value_name = "PATH", default_value = "/proc", hide_short_help = true)]
    pub proc_root: PathBuf,

    /// Count in the kernel
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub ebpf: Ebpf,

    /// Processes that BPF programs can count for at once, up to 65535
    ///
    /// Each costs 392 bytes of kernel memory, and 64 more for each possible CPU.
    #[arg(
        long,
        value_name = "PROCESSES",
        default_value_t = m8refsvr_common::slot::DEFAULT_CAPACITY,
        value_parser = capacity,
        allow_negative_numbers = true,
        hide_short_help = true
    )]
    pub max_tracked_processes: u32,

    /// The BPF file system, where `debug dump` finds the maps of a running agent
    #[arg(long, value_name = "PATH", default_value = bpf::BPF_FS, hide_short_help = true)]
    pub bpf_fs: PathBuf,
}

/// Taken where two collections make one result.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Collection")]
pub struct Sample {
    /// Seconds between the two collections, from 0.01
    ///
    /// They are those of --once and of `debug dump`. /proc has CPU time in steps of 10 ms, so the CPU usage of a short
    /// sample is coarse.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "1",
        value_parser = sample,
        allow_negative_numbers = true
    )]
    pub sample: Duration,
}

/// Taken by the running agent.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Collection")]
pub struct Interval {
    /// Seconds from one collection to the next, from 0.1
    ///
    /// At most 86400. Collections are at whole multiples of it on the clock. OTEL_METRIC_EXPORT_INTERVAL is in
    /// milliseconds.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "60",
        value_parser = interval,
        allow_negative_numbers = true
    )]
    pub interval: Duration,
}

/// What is exported, and where to.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Export")]
pub struct Export {
    /// The receiver, such as http://collector:4317
    ///
    /// With http/protobuf, /v1/metrics is added to the path unless it ends with that.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,

    /// Protocol of OTLP
    #[arg(long, value_name = "PROTOCOL", default_value = "grpc")]
    pub protocol: Protocol,

    /// Host of the Instana agent, instead of --endpoint
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    pub agent_host: String,

    /// Port of the Instana agent [default: 4317, or 4318 with http/protobuf]
    #[arg(
        long,
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..),
        allow_negative_numbers = true
    )]
    pub agent_port: Option<u16>,

    /// Metric names
    #[arg(long, value_name = "NAMES", default_value = "otel")]
    pub names: Names,

    /// Series for each process, instead of sums for each pattern
    ///
    /// Each process is a resource of its own.
    #[arg(long)]
    pub per_process: bool,

    /// With --per-process: how many processes have series of their own
    ///
    /// They are those with the most CPU time. The others are summed in the overflow series of their group.
    #[arg(
        long,
        value_name = "PROCESSES",
        default_value = "200",
        value_parser = clap::value_parser!(u32).range(1..),
        allow_negative_numbers = true,
        hide_short_help = true
    )]
    pub max_series_processes: u32,

    /// With --per-process: where process.pid and process.executable.name are
    #[arg(long, value_name = "PLACE", default_value = "resource", hide_short_help = true)]
    pub process_attributes: ProcessAttributes,

    /// With --per-process: send the command line of each process too
    ///
    /// The attribute is process.command_line. It has all arguments of a process, which can hold passwords and other
    /// secrets.
    #[arg(long, hide_short_help = true)]
    pub with_command_line: bool,

    /// Send each process exit as an OTLP log record too
    ///
    /// The variable is otlp or none.
    #[arg(long)]
    pub export_exits: bool,

    /// Value of service.instance.id, instead of one that is computed
    #[arg(long, value_name = "NAME", value_parser = instance, hide_short_help = true)]
    pub instance: Option<String>,

    /// Send over TLS [default: as the URL's scheme says, or else no]
    ///
    /// Give true, 1, yes, on, t, y, or false, 0, no, off, f, n.
    #[arg(
        long,
        value_name = "WHETHER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = truth
    )]
    pub tls: Option<bool>,

    /// Certificates of the receiver's authorities, a PEM file [default: the system's]
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub ca_cert: Option<PathBuf>,

    /// The agent's own certificate for mutual TLS, a PEM file
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub client_cert: Option<PathBuf>,

    /// The key of that certificate, a PEM file
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub client_key: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogFlags {
    /// The least severe messages that are logged
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true)]
    pub log_level: LogLevel,

    /// Append the log to a file [default: standard error]
    ///
    /// The file is opened again on SIGHUP.
    #[arg(long, value_name = "PATH")]
    pub log_file: Option<PathBuf>,

    /// Form of the log
    ///
    /// Under systemd, text carries the journal's priorities.
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_short_help = true)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Names {
    /// OpenTelemetry's semantic conventions
    Otel,
    /// The earlier Python plugin's
    Instana,
    /// Both
    Both,
}

/// Where the attributes are that identify a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProcessAttributes {
    /// On the resource alone, of which there is one for each process
    #[default]
    Resource,
    /// On each point too, for backends that make no labels of a resource's attributes
    Point,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// OTLP over gRPC
    Grpc,
    /// OTLP as protobuf over HTTP
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// Whether `check` prints in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Wherever the output goes
    Always,
    /// Nowhere
    Never,
}

/// Whether to count in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ebpf {
    /// If possible, else /proc alone
    Auto,
    /// Fail with exit code 4 if not possible
    Require,
    /// /proc alone
    Off,
}
