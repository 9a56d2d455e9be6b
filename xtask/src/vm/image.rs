//! A Debian with systemd: of the suite that this machine has, so that what others built for it runs there, or of another.
//! It is made once and kept in the cache.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{host, keep, receivers};

/// What is in it beside the essential: systemd with users' own managers, what the agent's package and script need, and
/// what the proofs look with.
const PACKAGES: [&str; 9] = [
    "systemd-sysv",
    // What libpam-systemd asks for by a name that debootstrap does not resolve.
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "libcap2-bin",
    "bpftool",
    "procps",
    "kmod",
    "passwd",
];
/// Files of its own. All that is logged goes to the console, as nobody can look into the journal from outside.
const FILES: [(&str, &str); 4] = [
    ("etc/hostname", "debian\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/systemd/journald.conf.d/console.conf",
        "[Journal]\nForwardToConsole=yes\nMaxLevelConsole=info\nRateLimitBurst=0\n",
    ),
    ("etc/systemd/system/proof.service", include_str!("systemd/proof.service")),
];
/// What it does not do: nobody logs in on the console, and nothing happens by the clock while something is proven.
const WITHOUT: [&str; 3] = [
    "etc/systemd/system/getty.target.wants",
    "etc/systemd/system/timers.target.wants",
    "usr/lib/systemd/system-generators/systemd-getty-generator",
];
const PROOF: &str = "etc/systemd/system/multi-user.target.wants/proof.service";

/// The image of its root file system, ext4; of this machine's suite where none is named, and then with what a receiver
/// needs.
pub(crate) fn debian(suite: Option<&str>) -> Result<PathBuf> {
    let mut packages: Vec<String> = PACKAGES.map(str::to_owned).into();
    let suite = match suite {
        Some(suite) => suite.to_owned(),
        None => {
            packages.push(receivers::libpython()?);
            self::suite()?
        }
    };
    let mut key = DefaultHasher::new();
    (&packages, FILES, WITHOUT, PROOF).hash(&mut key);
    let folder = host::cache()?.join(format!("debian-{suite}-{:016x}", key.finish()));
    if !folder.is_dir() {
        host::install(&["debootstrap", "e2fsprogs"])?;
        keep::make(&folder, |scratch| {
            let root = scratch.join("root");
            bootstrap(&suite, &packages, &root)?;
            furnish(&root)?;
            let made = scratch.join("made");
            fs::create_dir(&made).with_context(|| format!("cannot make {}", made.display()))?;
            ext4(&root, &made.join("root.ext4"), 1024)?;
            Ok(made)
        })?;
    }
    Ok(folder.join("root.ext4"))
}

/// The suite of this machine, as os-release(5) names it.
fn suite() -> Result<String> {
    let file = "/etc/os-release";
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    match (value("ID"), value("VERSION_CODENAME")) {
        (Some("debian"), Some(suite)) => Ok(suite.to_owned()),
        _ => bail!("this is no release of Debian, and what is built here may not run in one"),
    }
}

fn bootstrap(suite: &str, packages: &[String], root: &Path) -> Result<()> {
    // In a mount namespace of its own: what it mounts is gone when it ends, in whichever way.
    let output = Command::new("unshare")
        .args(["--mount", "debootstrap", "--variant=minbase"])
        .arg(format!("--include={}", packages.join(",")))
        .arg(suite)
        .arg(root)
        .arg(host::archive()?)
        .output()
        .context("cannot start unshare")?;
    if !output.status.success() {
        bail!("debootstrap ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

/// Makes of a Debian one that starts a proof when it has booted.
fn furnish(root: &Path) -> Result<()> {
    for (path, content) in FILES {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let link = root.join(PROOF);
    symlink("../proof.service", &link).with_context(|| format!("cannot make {}", link.display()))?;
    for path in WITHOUT.iter().chain(&["var/cache/apt", "var/lib/apt/lists"]) {
        let path = root.join(path);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let proof = root.join("proof");
    fs::create_dir(&proof).with_context(|| format!("cannot make {}", proof.display()))
}

/// Makes an ext4 file system of what is in a folder.
pub(crate) fn ext4(folder: &Path, image: &Path, mib: u64) -> Result<()> {
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-d"]).arg(folder).arg(image).arg(format!("{mib}M"));
    host::run(&mut command)
}
