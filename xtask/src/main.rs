//! The developer's commands: `cargo xtask ...`. A file for each command; what they share is in `host`.

#![forbid(unsafe_code)]

mod apt;
mod bench;
mod build;
mod demo;
mod deny;
mod dist;
mod docs;
mod fuzz;
mod host;
mod keep;
mod kubernetes;
mod lint;
mod receivers;
mod run;
mod test;
mod toolchain;
mod tools;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The developer's commands of m8refsvr")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything and print one document about the processes named M8RefSvr, or about a demonstration
    Run,
    /// Format, lint and test everything; lists what can't run on this machine
    Test,
    /// In machines that qemu emulates: run the tests that need a kernel on other kernels, and prove with systemd what is
    /// installed; all of it writes the README's table of kernels
    Vm {
        /// Which: 5.10, 6.1, 6.12, 7.2, systemd; all, unless some are named
        machines: Vec<String>,
        /// Only tests with this in their names
        #[arg(long, default_value = "")]
        tests: String,
    },
    /// Build the eBPF object and the release agent
    Build,
    /// Build what users install, into target/dist: a tarball, a .deb and an .rpm
    Dist,
    /// Generate the tables in the documents from the code
    Docs,
    /// Build only the eBPF object, into target/bpf/m8refsvr.o
    BuildEbpf {
        /// With log statements, which the agent forwards to its own log
        #[arg(long)]
        log: bool,
    },
    /// Look for input that breaks a parser of what comes from outside: the long test, a minute for each
    Fuzz(fuzz::Fuzz),
    /// Measure: what is promised about cost, beside what it is compared with
    Bench(bench::Bench),
    /// The load that `run` starts: ends with its standard input
    #[command(hide = true)]
    DemoLoad,
    /// What `bench` looks at: ends with its standard input
    #[command(hide = true)]
    BenchLoad { threads: usize, files: usize },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            host::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run => run::run(),
        Command::Test => test::test(),
        Command::Vm { machines, tests } => vm::vm(&machines, &tests, vm::Table::Write),
        Command::Build => build::agent().map(|_| ()),
        Command::Dist => dist::dist().map(|_| ()),
        Command::Docs => docs::docs(),
        Command::BuildEbpf { log } => build::ebpf_object(log),
        Command::Fuzz(fuzz) => fuzz::fuzz(&fuzz),
        Command::Bench(bench) => bench::bench(&bench),
        Command::DemoLoad => demo::load(),
        Command::BenchLoad { threads, files } => bench::load::load(threads, files),
    }
}
