//! The image of a Debian with systemd, made once by debootstrap and kept in the cache. At boot it runs the test script.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::disk;
use crate::{
    deps::{apt, cache, receivers},
    files, paths,
};

/// The packages beside the essential ones: systemd, also for users, what the agent's package and script need, and what
/// the test scripts call.
const PACKAGES: [&str; 9] = [
    "systemd-sysv",
    // libpam-systemd depends on it by a virtual name, which debootstrap does not resolve.
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "libcap2-bin",
    "bpftool",
    "procps",
    "kmod",
    "passwd",
];
/// Files that are added. The journal goes to the console, where the host can read it.
const FILES: [(&str, &str); 4] = [
    ("etc/hostname", "debian\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/systemd/journald.conf.d/console.conf",
        "[Journal]\nForwardToConsole=yes\nMaxLevelConsole=info\nRateLimitBurst=0\n",
    ),
    ("etc/systemd/system/test.service", include_str!("systemd/test.service")),
];
/// Files that are removed: logins on the console and timers would disturb the tests.
const REMOVED: [&str; 3] = [
    "etc/systemd/system/getty.target.wants",
    "etc/systemd/system/timers.target.wants",
    "usr/lib/systemd/system-generators/systemd-getty-generator",
];
/// The link that starts the test script at boot.
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/test.service";

const IMAGE: &str = "root.ext4";

/// The image of the root file system, ext4. Without a suite it is that of this host, so that programs installed here
/// run there, and it has the library that the receiver rotel needs.
pub(crate) fn image(suite: Option<&str>) -> Result<PathBuf> {
    let mut packages: Vec<String> = PACKAGES.map(str::to_owned).into();
    let suite = match suite {
        Some(suite) => suite.to_owned(),
        None => {
            packages.push(receivers::libpython()?);
            host_suite()?
        }
    };
    let mut key = DefaultHasher::new();
    (&packages, FILES, REMOVED, ENABLED).hash(&mut key);
    let folder = paths::cache()?.join(format!("debian-{suite}-{:016x}", key.finish()));
    if !folder.is_dir() {
        apt::install(&["debootstrap", "e2fsprogs"])?;
        cache::make(&folder, |scratch| {
            let root = scratch.join("root");
            bootstrap(&suite, &packages, &root)?;
            configure(&root)?;
            let made = scratch.join("made");
            files::create_folder(&made)?;
            disk::from_folder(&root, &made.join(IMAGE), 1024)?;
            Ok(made)
        })?;
    }
    Ok(folder.join(IMAGE))
}

/// The suite of this host, from os-release(5).
fn host_suite() -> Result<String> {
    let text = files::read_text(Path::new("/etc/os-release"))?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    match (value("ID"), value("VERSION_CODENAME")) {
        (Some("debian"), Some(suite)) => Ok(suite.to_owned()),
        _ => bail!("this host is no release of Debian, so programs that are built here may not run in one"),
    }
}

fn bootstrap(suite: &str, packages: &[String], root: &Path) -> Result<()> {
    // In a mount namespace, so that what it mounts goes away when it exits, also after an error.
    let output = Command::new("unshare")
        .args(["--mount", "debootstrap", "--variant=minbase"])
        .arg(format!("--include={}", packages.join(",")))
        .arg(suite)
        .arg(root)
        .arg(apt::archive()?)
        .output()
        .context("cannot start unshare")?;
    if !output.status.success() {
        bail!("debootstrap failed: {}:\n{}", output.status, String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

/// Adds the test script's service, removes what disturbs it, and empties the caches of apt.
fn configure(root: &Path) -> Result<()> {
    for (path, content) in FILES {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        files::write(&path, content)?;
    }
    let link = root.join(ENABLED);
    symlink("../test.service", &link).with_context(|| format!("cannot create {}", link.display()))?;
    for path in REMOVED.iter().chain(&["var/cache/apt", "var/lib/apt/lists"]) {
        let path = root.join(path);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    // The mount point of the disk with the test script.
    files::create_folder(&root.join("test"))
}
