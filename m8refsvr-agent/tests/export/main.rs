//! Tests of the export against receivers and a proxy that others wrote, on loopback. A test for which one of them is
//! missing is reported as ignored, with its name and the reason; `cargo xtask test` installs them all.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod agent;
mod bpf_stats;
mod broken;
mod cases;
mod certificates;
mod connect_proxy;
mod load;
mod mock;
mod nginx;
mod receiver;
mod relay;
mod requests;
mod rotel;
mod send;
mod server;
mod victoria_metrics;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use libtest_mimic::Arguments;
use m8refsvr_agent::bpf::{Kernel, KernelError, Options};
use m8refsvr_test_support::{case, machine, surroundings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a test needs of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The receiver rotel.
    Rotel,
    /// The receiver mockotlpserver.
    Mock,
    /// The proxy nginx.
    Nginx,
    /// The program openssl, which makes certificates as users do.
    Openssl,
    /// VictoriaMetrics, a receiver that stores.
    VictoriaMetrics,
    /// Loading and attaching programs.
    Bpf,
    /// Control groups that limit memory.
    MemoryGroup,
    /// Memory of processes that are killed is written to files.
    CoreFiles,
}

impl Need {
    /// Why it is not to be had.
    fn reason_against(self) -> Option<String> {
        match self {
            Self::Bpf => reason_against_bpf(),
            Self::Openssl => {
                let runs = Command::new("openssl").arg("version").output().is_ok();
                (!runs).then(|| "the program openssl is missing: the package openssl has it".into())
            }
            Self::MemoryGroup => machine::memory_cgroup().err(),
            Self::CoreFiles => machine::reason_against_core_files(),
            _ => self.path().err(),
        }
    }

    /// Where it is, as `cargo xtask test` says.
    fn path(self) -> Result<PathBuf, String> {
        let variable = match self {
            Self::Rotel => "M8REFSVR_ROTEL",
            Self::Mock => "M8REFSVR_MOCKOTLPSERVER",
            Self::Nginx => "M8REFSVR_NGINX",
            Self::VictoriaMetrics => "M8REFSVR_VICTORIA_METRICS",
            Self::Bpf | Self::Openssl | Self::MemoryGroup | Self::CoreFiles => {
                return Err("no variable names it".into());
            }
        };
        let path = std::env::var_os(variable)
            .ok_or_else(|| format!("{variable} is not set; `cargo xtask test` installs what it names"))?;
        if !Path::new(&path).exists() {
            return Err(format!("{variable} names {}, which does not exist", path.display()));
        }
        Ok(path.into())
    }
}

type Case = m8refsvr_test_support::case::Case<Need>;

fn main() -> ExitCode {
    if let Some(code) = m8refsvr_test_support::load::main() {
        return code;
    }
    surroundings::begin();
    // Two thousand processes with two pipes each, and connections that are held for long.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let mut arguments = Arguments::from_args();
    // They wait more than they compute, but each has servers of its own.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    case::run(cases::all(), &arguments, Need::reason_against)
}

/// Why BPF programs may not be loaded and attached here.
fn reason_against_bpf() -> Option<String> {
    match Kernel::attach(&Options { capacity: 1, bpf_fs: None, ..Options::default() }) {
        Err(
            error @ (KernelError::Refused { .. } | KernelError::PidNamespace | KernelError::OtherProc { .. }),
        ) => Some(error.to_string()),
        // Anything else is an error of ours, and shall be seen by the tests.
        _ => None,
    }
}
