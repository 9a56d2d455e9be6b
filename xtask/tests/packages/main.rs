//! Tests of the packages that `cargo xtask dist` makes, with the real dpkg and rpm, and of the program in them with the
//! C libraries of several releases. They need root, for mounts and BPF, and the variables M8REFSVR_DIST (the folder of
//! the packages) and M8REFSVR_ROOTS (the folder with root folders of C libraries).

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "prints why tests were ignored")]
#![forbid(unsafe_code)]

mod c_library;
mod packages;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use libtest_mimic::{Arguments, Trial};
use packages::Packages;

/// A sentence about behaviour, and the code that checks it.
type Case = (&'static str, fn(&Packages));

const CASES: &[Case] = &[
    ("Debian's package behaves as its users expect", |packages| run("deb.sh", &packages.find(".deb"))),
    ("the package for rpm behaves as its users expect", |packages| run("rpm.sh", &packages.find(".rpm"))),
    ("the program needs glibc 2.17 and nothing newer, and the packages say so", c_library::needs_glibc_2_17),
    ("the program counts in the kernel with the C library of Debian's bullseye", |packages| {
        c_library::counts_with("bullseye", packages);
    }),
    ("the program counts in the kernel with the C library of Debian's bookworm", |packages| {
        c_library::counts_with("bookworm", packages);
    }),
    ("the program counts in the kernel with the C library of Debian's trixie", |packages| {
        c_library::counts_with("trixie", packages);
    }),
    ("the program counts in the kernel with the C library of Debian's sid", |packages| {
        c_library::counts_with("sid", packages);
    }),
];

fn main() -> ExitCode {
    if let Some(code) = m8refsvr_test_support::load::main() {
        return code;
    }
    let folder = |variable| env::var_os(variable).map(PathBuf::from);
    let (dist, roots) = (folder("M8REFSVR_DIST"), folder("M8REFSVR_ROOTS"));
    let reason = if !rustix::process::geteuid().is_root() {
        Some("they need root")
    } else if dist.is_none() || roots.is_none() {
        Some("M8REFSVR_DIST and M8REFSVR_ROOTS are not set; `cargo xtask test` sets them")
    } else {
        None
    };
    let packages = Packages { dist: dist.unwrap_or_default(), roots: roots.unwrap_or_default() };
    let trials = CASES
        .iter()
        .map(|&(name, check)| {
            let packages = packages.clone();
            Trial::test(name, move || {
                check(&packages);
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

/// Runs a script with a package, on a copy of this machine.
fn run(script: &str, package: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
    let copy = tempfile::TempDir::new().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(folder.join("machine.sh")).arg(copy.path());
    command.arg(folder.join(script)).arg(package);
    let output = command.output().unwrap();
    if !output.status.success() {
        let (printed, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        panic!("{script} failed at its last step:\n{printed}{error}");
    }
}
