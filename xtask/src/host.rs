//! This machine: where the checkout is, how a command is run and shown, and how Debian's packages get here.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Says on standard error what is being done.
pub(crate) fn step(what: &str) {
    say(&format!("==> {what}"));
}

/// Says something on standard error.
pub(crate) fn say(what: &str) {
    // Where nobody reads it any more, that is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// The cargo that started this program, at the root of the checkout.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// The standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

/// Whether a program is to be found by PATH.
pub(crate) fn has_program(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Whether a program starts; one can be there and yet not start, when a library of its own was removed or exchanged.
pub(crate) fn runs(program: &Path, argument: &str) -> bool {
    Command::new(program)
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Installs those of Debian's packages that are missing; an ordinary user gets the line to type instead.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !has_program("apt-get") {
        bail!("these are missing, and there is no apt-get to install them: {}", missing.join(" "));
    }
    let line = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !is_root() {
        bail!("some of Debian's packages are missing; this installs them:\n\n    sudo {line}\n");
    }
    step(&format!("installing {} from Debian's packages", missing.join(" ")));
    run(apt().arg("update"))?;
    // apt has no quieter way to unpack than this; what it writes matters only when it fails.
    let outcome = apt()
        .args(["install", "-y", "--no-install-recommends"])
        .args(&missing)
        .output()
        .with_context(|| format!("cannot start {line}"))?;
    if !outcome.status.success() {
        bail!("{line} ended with {}:\n{}", outcome.status, String::from_utf8_lossy(&outcome.stderr));
    }
    Ok(())
}

/// Unpacks Debian's packages in a folder with all that they need and this machine lacks, without installing them;
/// returns the folder that is their root.
pub(crate) fn unpack(packages: &[&str], folder: &Path) -> Result<PathBuf> {
    if !has_program("apt-get") {
        bail!("there is no apt-get to download {} from Debian's packages", packages.join(" "));
    }
    if is_root() {
        run(apt().arg("update"))?;
    }
    let archives = folder.join("archives");
    let partial = archives.join("partial");
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    let mut download = apt();
    download
        .args(["install", "--download-only", "--reinstall", "-y", "--no-install-recommends", "-o"])
        .arg(format!("Dir::Cache::archives={}", archives.display()))
        // As ourselves: another user may have no way into the folder, and nothing of the machine's is changed.
        .args(["-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1"]);
    output(download.args(packages))?;
    let root = folder.join("root");
    fs::create_dir(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let files = fs::read_dir(&archives).with_context(|| format!("cannot read {}", archives.display()))?;
    for file in files {
        let file = file.with_context(|| format!("cannot read {}", archives.display()))?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&root))?;
        }
    }
    Ok(root)
}

/// The address of Debian's archive, by the machine's own sources of packages. Other suites are there too.
pub(crate) fn archive() -> Result<String> {
    if !has_program("apt-get") {
        bail!("there is no apt-get to download Debian's packages with");
    }
    let address = || {
        let mut list = Command::new("apt-get");
        list.args(["indextargets", "--format", "$(REPO_URI)"]);
        output(list.args(["Created-By: Packages", "Origin: Debian", "Label: Debian"]))
    };
    let mut addresses = address()?;
    if addresses.is_empty() && is_root() {
        // Whose archive it is apt knows once it has seen what is in it.
        run(apt().arg("update"))?;
        addresses = address()?;
    }
    let first = addresses.lines().next().context("the sources of packages name no archive of Debian's")?;
    Ok(first.trim_end_matches('/').to_owned())
}

/// apt-get, with little to say.
pub(crate) fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "Dpkg::Use-Pty=0"]);
    command
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

/// Where cargo keeps what it downloads.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

/// Where things are kept that a clean checkout need not make again.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME says where to keep a cache: set one of them")?;
    Ok(base.join("m8refsvr"))
}
