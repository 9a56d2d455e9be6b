//! Debian's packages: installed by apt-get, or downloaded and unpacked without installing them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{command, files, report};

/// Where the shared libraries of an unpacked package are, below its root.
pub(crate) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Installs the packages that are missing. Without root, the error has the command to type.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    require_apt(&format!("to install {names}"))?;
    let line = format!("apt-get install -y --no-install-recommends {names}");
    if !command::is_root() {
        bail!("some of Debian's packages are missing; install them:\n\n    sudo {line}\n");
    }
    report::step(&format!("installing Debian's packages {names}"));
    command::run(apt_get().arg("update"))?;
    // apt-get unpacks with many lines, whatever its options; they are shown only when it fails.
    let outcome = apt_get()
        .args(["install", "-y", "--no-install-recommends"])
        .args(&missing)
        .output()
        .with_context(|| format!("cannot start {line}"))?;
    if !outcome.status.success() {
        bail!("{line} failed: {}:\n{}", outcome.status, String::from_utf8_lossy(&outcome.stderr));
    }
    Ok(())
}

/// Installs the packages of those programs that are not in `PATH`: pairs of a program and its package.
pub(crate) fn install_programs(programs: &[(&str, &str)]) -> Result<()> {
    let missing = programs.iter().filter(|(program, _)| !command::has_program(program));
    install(&missing.map(|(_, package)| *package).collect::<Vec<_>>())
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

/// Downloads and unpacks packages in a folder, with the dependencies that this machine lacks. Returns the root folder
/// of the unpacked files.
pub(crate) fn unpack(packages: &[&str], folder: &Path) -> Result<PathBuf> {
    require_apt(&format!("to download {}", packages.join(" ")))?;
    if command::is_root() {
        command::run(apt_get().arg("update"))?;
    }
    let archives = folder.join("archives");
    files::create_folder(&archives.join("partial"))?;
    let mut download = apt_get();
    download
        .args(["install", "--download-only", "--reinstall", "-y", "--no-install-recommends", "-o"])
        .arg(format!("Dir::Cache::archives={}", archives.display()))
        // apt's own user may not be allowed into the folder. Nothing of the machine is changed, so no lock is needed.
        .args(["-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1"]);
    command::output(download.args(packages))?;
    let root = folder.join("root");
    extract(&archives, &root)?;
    Ok(root)
}

/// Extracts all packages that lie in a folder.
pub(crate) fn extract(folder: &Path, root: &Path) -> Result<()> {
    files::create_folder(root)?;
    for file in files::entries(folder)? {
        if file.extension().is_some_and(|extension| extension == "deb") {
            command::run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(root))?;
        }
    }
    Ok(())
}

/// The address of Debian's archive in the machine's package sources. The archive has other suites too.
pub(crate) fn archive() -> Result<String> {
    require_apt("to find Debian's archive")?;
    let addresses = || {
        let mut list = Command::new("apt-get");
        list.args(["indextargets", "--format", "$(REPO_URI)"]);
        command::output(list.args(["Created-By: Packages", "Origin: Debian", "Label: Debian"]))
    };
    let mut found = addresses()?;
    if found.is_empty() && command::is_root() {
        // apt knows the origin of an archive only after it has fetched its lists.
        command::run(apt_get().arg("update"))?;
        found = addresses()?;
    }
    let first =
        found.lines().next().context("the package sources of this machine name no archive of Debian")?;
    Ok(first.trim_end_matches('/').to_owned())
}

fn require_apt(purpose: &str) -> Result<()> {
    if !command::has_program("apt-get") {
        bail!("there is no apt-get {purpose}: use a Debian, or a container with one");
    }
    Ok(())
}

/// apt-get without progress output or questions.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "Dpkg::Use-Pty=0"]);
    command
}
