//! Tests of `install-m8refsvr-agent.sh`, as root and as an ordinary user, on machines made of a few folders. They
//! need root, for `chroot` and mounts of their own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "tells why tests were left out")]
#![forbid(unsafe_code)]

mod cases;
mod machine;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test: a sentence about behaviour, and the proof.
type Case = (&'static str, fn());

fn main() -> ExitCode {
    let is_root = rustix::process::geteuid().is_root();
    let cases = [cases::system::CASES, cases::user::CASES].concat();
    let trials = cases
        .into_iter()
        .map(|(name, run)| {
            Trial::test(name, move || {
                run();
                Ok(())
            })
            .with_ignored_flag(!is_root)
        })
        .collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if !is_root {
        eprintln!("could not run here: the tests of the installation: they need root");
    }
    conclusion.exit_code()
}
