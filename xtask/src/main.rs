//! The developer's commands, `cargo xtask ...`, and what they share.
//!
//! # Layout
//! - `main`: the command line
//! - `report`, `paths`, `files`, `command`: messages, folders, files, other programs
//! - `deps`: what is downloaded, installed or built once into the cache
//! - `build`: the eBPF object and the agent
//! - `check`: formats, lints, dependencies and manifests
//! - `dist`: packages; `vm`: other kernels and systemd in virtual machines; `bench`: what the agent costs
//! - `docs`, `demo`, `run`, `fuzz`, `test`: one command each
//!
//! A module uses only those before it in this list.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod check;
mod command;
mod demo;
mod deps;
mod dist;
mod docs;
mod files;
mod fuzz;
mod paths;
mod report;
mod run;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand, builder::PossibleValuesParser};

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "The developer's commands of m8refsvr")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the agent and print one sample of the processes named M8RefSvr, or of a demonstration process
    Run,
    /// Run all checks and tests, and list those that can't run on this machine
    Test,
    /// Test in virtual machines: the kernel tests on other kernels, the packages under systemd
    ///
    /// qemu emulates the machines, so no hardware support is needed. A run of all machines and tests also writes the
    /// table of kernels in README.md.
    Vm {
        /// Kernels, or the tests under systemd [default: all]
        #[arg(value_parser = PossibleValuesParser::new(vm::machines()))]
        machines: Vec<String>,
        /// Run only the kernel tests with this text in their names
        #[arg(long, default_value = "", hide_default_value = true)]
        tests: String,
    },
    /// Build the eBPF object and the release agent
    Build,
    /// Make the packages in target/dist: a tarball, a .deb and an .rpm
    Dist,
    /// Generate the tables in the documents from the code
    Docs,
    /// Build only the eBPF object, target/bpf/m8refsvr.o
    BuildEbpf {
        /// Add log statements, which the agent forwards to its own log
        #[arg(long)]
        log: bool,
    },
    /// Fuzz the parsers of untrusted input
    Fuzz(fuzz::Fuzz),
    /// Measure the cost of the agent, and compare it with the accepted ratios
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    if let Some(code) = m8refsvr_test_support::load::main() {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::line(&format!("error: {error:#}"));
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
    }
}
