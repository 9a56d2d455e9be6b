//! Tests of `install-m8refsvr-agent.sh`, run by root and by an ordinary user. Each test has a machine made of a few
//! folders, for which it needs root: `chroot`, and mounts in a namespace.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "prints why tests were ignored")]
#![forbid(unsafe_code)]

mod case;
mod machine;
mod system;
mod user;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let is_root = rustix::process::geteuid().is_root();
    let cases = [&system::cases(), user::CASES].concat();
    let trials = cases
        .into_iter()
        .map(|(name, check)| {
            Trial::test(name, move || {
                check();
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
