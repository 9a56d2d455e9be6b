//! What the user can type. What it means is decided in `config`.

mod flag_order;
mod flags;
mod help;
mod origins;
mod renamed;
pub(crate) mod values;
pub(crate) mod variables;

use std::ffi::OsString;

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
pub use flags::{
    Color, Common, Ebpf, Export, Interval, LogFlags, Names, ProcessAttributes, Protocol, Sample,
};
pub use origins::{Origin, Origins, Setting};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "m8refsvr-agent",
    version,
    about = help::ABOUT,
    long_about = help::LONG_ABOUT,
    after_help = help::SHORT_END,
    after_long_help = help::LONG_END,
    max_term_width = 110
)]
pub struct Cli {
    /// Collect twice, print one JSON document, export, end
    ///
    /// The collections are --sample seconds apart. The document is printed on standard output.
    #[arg(long, visible_alias = "run-once")]
    pub once: bool,

    /// With --once: print the document, export nothing
    #[arg(long, requires = "once")]
    pub no_export: bool,

    #[command(flatten)]
    pub interval: Interval,

    #[command(flatten)]
    pub sample: Sample,

    #[command(flatten)]
    pub common: Common,

    #[command(flatten)]
    pub export: Export,

    #[command(flatten)]
    pub log: LogFlags,

    /// What to do instead of monitoring.
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(
        about = help::CHECK,
        long_about = help::LONG_CHECK,
        after_help = "`--help` has all flags, the variables, exit codes and examples.",
        after_long_help = help::CHECK_END
    )]
    Check(Check),

    /// Look into the agent
    #[command(subcommand)]
    Debug(Debug),
}

#[derive(Debug, Subcommand)]
pub enum Debug {
    #[command(
        about = help::DUMP,
        long_about = help::LONG_DUMP,
        after_help = "`--help` has all flags, the variables and examples.",
        after_long_help = help::DUMP_END
    )]
    Dump(Dump),
}

#[derive(Args, Debug)]
pub struct Check {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Check with the settings of the installed service
    ///
    /// They are the flags and variables of its unit, and those of its settings file.
    #[arg(long)]
    pub service: bool,

    /// Colour the verdict and the marks
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,

    #[command(flatten)]
    pub sample: Sample,

    #[command(flatten)]
    pub interval: Interval,

    #[command(flatten)]
    pub common: Common,

    #[command(flatten)]
    pub export: Export,

    #[command(flatten)]
    pub log: LogFlags,
}

#[derive(Args, Debug)]
pub struct Dump {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Process id of the agent, where several run
    #[arg(long, value_name = "PID")]
    pub agent: Option<u32>,

    #[command(flatten)]
    pub sample: Sample,

    #[command(flatten)]
    pub common: Common,

    #[command(flatten)]
    pub log: LogFlags,
}

/// A command line that clap has taken.
#[derive(Debug)]
pub struct Parsed {
    /// Its sets of flags are those of the command that was given.
    pub cli: Cli,
    pub origins: Origins,
    /// All settings that have a flag, and where they came from.
    pub settings: Vec<Setting>,
    /// About flags by earlier names.
    pub warnings: Vec<String>,
}

/// The definition of the command line, for help, man pages and completions.
pub fn command() -> clap::Command {
    help::complete(Cli::command())
}

/// A variable of this process's environment; one that is empty counts as not set.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The command line of this process.
pub fn parse() -> Result<Parsed, clap::Error> {
    parse_from(std::env::args_os().collect(), variable)
}

/// A command line, the program's name first. An error of a variable names the variable.
pub fn parse_from(
    arguments: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Parsed, clap::Error> {
    let all = command();
    let (arguments, warnings) = renamed::flags(arguments, renamed::FLAGS);
    let arguments = flag_order::behind_the_command(&all, arguments);
    // What is wrong without any variable is wrong about the command line.
    let typed = all.clone().try_get_matches_from(&arguments)?;
    let origins = Origins::new(of_command(&typed), &variable);
    let mut with_variables = arguments;
    // What follows a `--` is no flag.
    let end = with_variables.iter().position(|word| word == "--").unwrap_or(with_variables.len());
    with_variables.splice(end..end, origins.as_flags(taking(&all, &typed), &variable));
    let matches = all.clone().try_get_matches_from(with_variables);
    let matches = matches.map_err(|error| variables::reworded(error, &variable))?;
    let settings = origins.settings(&all, of_command(&typed), of_command(&matches), &variable);
    Ok(Parsed { cli: Cli::from_command(&matches)?, origins, settings, warnings })
}

/// What was matched for the last of the commands.
fn of_command(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| of_command(matches))
}

/// The last of the commands that were matched.
fn taking<'a>(command: &'a clap::Command, matches: &ArgMatches) -> &'a clap::Command {
    let next =
        matches.subcommand().and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches)));
    next.map_or(command, |(command, matches)| taking(command, matches))
}

impl Cli {
    /// With the sets of flags of the command, where one was given.
    fn from_command(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(matches)?;
        match &cli.command {
            Some(Command::Check(Check { common, export, log, interval, .. })) => {
                (cli.common, cli.log, cli.interval) = (common.clone(), log.clone(), interval.clone());
                cli.export = export.clone();
            }
            Some(Command::Debug(Debug::Dump(Dump { common, sample, log, .. }))) => {
                (cli.common, cli.sample, cli.log) = (common.clone(), sample.clone(), log.clone());
            }
            None => {}
        }
        Ok(cli)
    }
}

#[cfg(test)]
mod tests;
