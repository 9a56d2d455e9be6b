//! What the user can type. What it means is decided in `settings`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::kernel;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "m8refsvr-agent",
    version,
    about = "Monitors the processes of MicroStrategy's M8RefSvr, or any others, with eBPF and /proc",
    after_help = "Exit codes: 0 done; 1 no process matches; 2 wrong usage or setting; 3 export failed; 4 the kernel \
                  side was required and could not start; 5 anything else, such as a full disk.",
    max_term_width = 110
)]
pub struct Cli {
    /// Look twice, print one JSON document on standard output, and end
    #[arg(long, alias = "run-once")]
    pub once: bool,

    /// With --once: print the document only, export nothing
    #[arg(long, requires = "once")]
    pub no_export: bool,

    /// What holds for every command.
    #[command(flatten)]
    pub common: Common,

    /// What to do instead of monitoring.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
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
pub struct Common {
    /// Watch processes with NAME, in any case, in their name, their executable's file name or argv[0]'s
    /// (repeatable; several in the variable are separated by commas)
    #[arg(long, global = true, value_name = "NAME", env = "PROCESS_NAME", default_value = "M8RefSvr")]
    pub process: Vec<String>,

    /// Watch processes of which one of these names matches the regular expression RE, case by case (repeatable;
    /// replaces the default name, and adds to those that are given)
    #[arg(long, global = true, value_name = "RE")]
    pub process_regex: Vec<String>,

    /// Seconds between the two looks; CPU usage is known to 10 ms of CPU time, and coarse when this is short
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
    pub capacity: u32,

    /// The BPF file system, in which `debug dump` finds the maps of a running agent
    #[arg(long, global = true, value_name = "PATH", default_value = kernel::BPF_FS)]
    pub bpf_fs: PathBuf,

    /// What to log on standard error
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "LOG_LEVEL",
        default_value = "info",
        ignore_case = true
    )]
    pub log_level: LogLevel,
}

/// Whether to count in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ebpf {
    /// If it can be done.
    Auto,
    /// Or else not at all.
    Require,
    /// Never.
    Off,
}

/// Levels of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What a developer wants to know.
    Debug,
    /// What an administrator wants to know.
    Info,
    /// What an administrator should look at.
    #[value(name = "warning", alias = "warn")]
    Warning,
    /// What an administrator must look at.
    Error,
    /// As `error`, for those who are used to it.
    Critical,
}

/// A length of time between 10 milliseconds and a day.
fn sample(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.trim().parse().map_err(|_| "give a number of seconds, such as 1 or 0.5".to_owned())?;
    if (0.01..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("give between 0.01 and 86400 seconds".into())
    }
}

fn capacity(text: &str) -> Result<u32, String> {
    let capacity = text.trim().parse().ok().filter(|&capacity| kernel::is_capacity(capacity));
    capacity.ok_or_else(|| format!("give a whole number from 1 to {}", m8refsvr_common::slot::MAX_CAPACITY))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_sample_is_a_length_of_time() {
        assert_eq!(sample("1"), Ok(Duration::from_secs(1)));
        assert_eq!(sample("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["0", "-1", "nan", "inf", "0.001", "1e9", "", "1s", "one"] {
            assert!(sample(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_capacity_fits_the_slots_numbers() {
        assert_eq!((capacity("1"), capacity("65535")), (Ok(1), Ok(65535)));
        for wrong in ["0", "65536", "-1", "4k", ""] {
            assert!(capacity(wrong).is_err(), "{wrong}");
        }
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
