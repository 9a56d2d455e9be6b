//! Tests of the packages that `cargo xtask dist` makes, with the real dpkg and rpm. They need root, for mounts of
//! their own, and the variable M8REFSVR_DIST, which says where the packages are.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "tells why tests were left out")]
#![forbid(unsafe_code)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use libtest_mimic::{Arguments, Trial};

/// A test: a sentence about behaviour, the script that proves it, and the package by the end of its name.
const CASES: [(&str, &str, &str); 2] = [
    ("Debian's package behaves as its users expect", "deb.sh", ".deb"),
    ("the package for rpm behaves as its users expect", "rpm.sh", ".rpm"),
];

fn main() -> ExitCode {
    let dist = env::var_os("M8REFSVR_DIST").map(PathBuf::from);
    let reason = if !rustix::process::geteuid().is_root() {
        Some("they need root")
    } else if dist.is_none() {
        Some("M8REFSVR_DIST does not say where they are, as `cargo xtask test` does")
    } else {
        None
    };
    let dist = dist.unwrap_or_default();
    let trials = CASES
        .into_iter()
        .map(|(name, script, end)| {
            let dist = dist.clone();
            Trial::test(name, move || {
                run(script, &package(&dist, end));
                Ok(())
            })
            .with_ignored_flag(reason.is_some())
        })
        .collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if let Some(reason) = reason {
        eprintln!("could not run here: the tests of the packages: {reason}");
    }
    conclusion.exit_code()
}

fn package(dist: &Path, end: &str) -> PathBuf {
    let mut paths = fs::read_dir(dist).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.to_string_lossy().ends_with(end)).unwrap()
}

fn run(script: &str, package: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
    let copy = tempfile::TempDir::new().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(folder.join("machine.sh")).arg(copy.path());
    command.arg(folder.join(script)).arg(package);
    let output = command.output().unwrap();
    if !output.status.success() {
        let (said, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        panic!("{script} failed at its last step:\n{said}{error}");
    }
}
