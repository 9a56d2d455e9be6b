//! Tests of the packages that `cargo xtask dist` makes, with the real dpkg and rpm, and of the program in them with the C
//! libraries of several releases. They need root, for mounts of their own and for BPF, and the variables M8REFSVR_DIST
//! and M8REFSVR_ROOTS, which say where the packages and the roots with C libraries are.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "tells why tests were left out")]
#![forbid(unsafe_code)]

use std::{
    env, fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use libtest_mimic::{Arguments, Trial};

/// A test: a sentence about behaviour, the script that proves it, and the package by the end of its name.
const CASES: [(&str, &str, &str); 2] = [
    ("Debian's package behaves as its users expect", "deb.sh", ".deb"),
    ("the package for rpm behaves as its users expect", "rpm.sh", ".rpm"),
];

/// The releases of Debian whose C libraries the program is tried with.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];
const PROGRAM: &str = "usr/bin/m8refsvr-agent";

fn main() -> ExitCode {
    let folder = |variable| env::var_os(variable).map(PathBuf::from);
    let (dist, roots) = (folder("M8REFSVR_DIST"), folder("M8REFSVR_ROOTS"));
    let reason = if !rustix::process::geteuid().is_root() {
        Some("they need root")
    } else if dist.is_none() || roots.is_none() {
        Some("M8REFSVR_DIST and M8REFSVR_ROOTS do not say where they are, as `cargo xtask test` does")
    } else {
        None
    };
    let dist = dist.unwrap_or_default();
    let mut trials: Vec<Trial> = CASES
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
    let package_of_debian = dist.clone();
    trials.push(
        Trial::test("the program needs glibc 2.17 and nothing newer, and the packages say so", move || {
            needs_old_glibc(&package_of_debian);
            Ok(())
        })
        .with_ignored_flag(reason.is_some()),
    );
    for root in SUITES.map(|suite| roots.clone().unwrap_or_default().join(suite)) {
        let dist = dist.clone();
        let name = format!(
            "the program counts in the kernel with the C library of Debian's {}",
            root.file_name().unwrap_or_default().display()
        );
        let trial = Trial::test(name, move || {
            counts_with(&root, &dist);
            Ok(())
        });
        trials.push(trial.with_ignored_flag(reason.is_some()));
    }
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

/// Unpacks Debian's package into a folder.
fn unpack(dist: &Path, folder: &Path) {
    let package = package(dist, ".deb");
    let status = Command::new("dpkg-deb").arg("--extract").arg(package).arg(folder).status().unwrap();
    assert!(status.success());
}

fn needs_old_glibc(dist: &Path) {
    let text = |command: &mut Command| {
        let output = command.env("LC_ALL", "C").output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = tempfile::TempDir::new().unwrap();
    unpack(dist, folder.path());
    let versions =
        text(Command::new("readelf").args(["--wide", "--version-info"]).arg(folder.path().join(PROGRAM)));
    let depends = text(Command::new("dpkg-deb").arg("--field").arg(package(dist, ".deb")).arg("Depends"));
    let requires = text(Command::new("rpm").args(["-qp", "--requires"]).arg(package(dist, ".rpm")));
    let minors = |text: &str| -> Vec<u32> {
        let names = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "._".contains(letter)));
        let versions = names.filter_map(|name| name.strip_prefix("GLIBC_2."));
        versions.map(|version| version.split('.').next().unwrap().parse().unwrap()).collect()
    };
    for text in [&versions, &requires] {
        assert_eq!(minors(text).into_iter().max(), Some(17), "{text}");
    }
    assert!(depends.contains("libc6 (>= 2.17)"), "{depends}");
}

/// A process that waits for its input again and again; it ends when this is dropped.
struct Load(Child);

impl Load {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        thread::spawn(move || {
            // Until it has ended.
            while input.write_all(b"\n").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self(child)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn counts_with(root: &Path, dist: &Path) {
    let folder = tempfile::TempDir::new().unwrap();
    let copy = folder.path().join("root");
    assert!(Command::new("cp").arg("-a").arg(root).arg(&copy).status().unwrap().success());
    // In later releases another package links these.
    for (link, place) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        if !copy.join(link).exists() {
            symlink(place, copy.join(link)).unwrap();
        }
    }
    unpack(dist, &copy);
    for mount in ["dev", "proc", "sys"] {
        fs::create_dir_all(copy.join(mount)).unwrap();
    }
    // A name that no other load has.
    let name = format!("m8r_{}", root.file_name().unwrap().display());
    let program = folder.path().join(&name);
    fs::copy("/bin/cat", &program).unwrap();
    let _load = Load::start(Command::new(program));
    let script = format!(
        "mount --rbind /dev dev && mount --bind /proc proc && mount --rbind /sys sys && exec chroot . /{PROGRAM} --once --no-export --sample 0.5 \
         --ebpf require --process {name}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).current_dir(&copy);
    let output = command.output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}{error}", output.status);
    let document: serde_json::Value = serde_json::from_str(&said).unwrap();
    let metrics = &document["metrics"];
    assert_eq!(metrics["process_count"], 1, "{said}");
    assert!(
        document["agent"]["sources"]["context_switches"].as_str().unwrap().ends_with("tracepoint"),
        "{said}"
    );
    assert!(metrics["voluntary_ctx_switches"].as_u64().unwrap() > 5, "{said}");
}
