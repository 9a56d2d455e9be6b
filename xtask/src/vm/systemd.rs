//! Tests of the packages under systemd: virtual machines boot a Debian, and a script in each checks what it states in
//! sentences. `systemd/lib.sh` has what the scripts share.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{
    debian, disk,
    guest_tools::GuestTools,
    initramfs::Initramfs,
    kernels::{self, Kernel},
    qemu::{Machine, Running},
};
use crate::{command, deps::receivers, dist, files, report};

/// A test script, and the suite and the kernel of the machine in which it runs.
struct Script {
    name: &'static str,
    text: &'static str,
    /// `None` is the suite of this host.
    suite: Option<&'static str>,
    kernel: &'static str,
}

const SCRIPTS: [Script; 3] = [
    Script { name: "systemd-package", text: include_str!("systemd/package.sh"), suite: None, kernel: "6.1" },
    Script { name: "systemd-script", text: include_str!("systemd/script.sh"), suite: None, kernel: "6.1" },
    Script {
        name: "systemd-oldest",
        text: include_str!("systemd/oldest.sh"),
        suite: Some("bullseye"),
        kernel: "5.10",
    },
];
const LIBRARY: &str = include_str!("systemd/lib.sh");
const INIT: &str = include_str!("systemd/init.sh");
const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];
const BUSYBOX: [&str; 4] = ["insmod", "mount", "sh", "switch_root"];
const MEMORY_MIB: u32 = 1024;
/// Long, as emulation is slow; a machine that hangs still ends.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A machine that is ready to boot.
#[derive(Debug)]
pub(crate) struct SystemdTest {
    pub(crate) name: &'static str,
    machine: Machine,
    console: PathBuf,
}

/// Makes the packages and the machines.
pub(crate) fn prepare(work: &Path) -> Result<Vec<SystemdTest>> {
    command::require_root("the file system of a Debian has to belong to root", "vm systemd")?;
    let dist = dist::dist()?;
    let (package, tarball) = (find(&dist, ".deb")?, find(&dist, ".tar.gz")?);
    let rotel = receivers::rotel()?;
    let prepare = |script: Script| {
        let debian = debian::image(script.suite)?;
        let kernel = kernels::get(script.kernel)?;
        let folder = work.join(script.name);
        files::create_empty_folder(&folder)?;
        let initrd = folder.join("initrd");
        write_initramfs(&kernel, &initrd)?;
        let root = folder.join("root.ext4");
        // Each machine changes a copy of its own, which is sparse.
        command::run(Command::new("cp").arg("--sparse=always").arg(&debian).arg(&root))?;
        let content = folder.join("test");
        files::create_empty_folder(&content)?;
        write_executable(&content.join("run"), script.text)?;
        write_executable(&content.join("lib.sh"), LIBRARY)?;
        files::copy(&rotel, &content.join("rotel-agent"))?;
        files::copy(&package, &content.join("newer.deb"))?;
        files::copy(&tarball, &content.join("newer.tar.gz"))?;
        older_package(&package, &folder.join("older"), &content.join("older.deb"))?;
        let test_disk = folder.join("test.ext4");
        disk::from_folder(&content, &test_disk, 128)?;
        let machine = Machine {
            kernel: kernel.image,
            initrd,
            command_line: "quiet".to_owned(),
            memory_mib: MEMORY_MIB,
            cpus: 1,
            disks: vec![root, test_disk],
            reboots: true,
        };
        Ok(SystemdTest { name: script.name, machine, console: folder.join("console") })
    };
    SCRIPTS.into_iter().map(prepare).collect()
}

/// The file in a folder whose name has this ending.
fn find(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut paths = files::entries(folder)?.into_iter();
    paths
        .find(|path| path.to_string_lossy().ends_with(ending))
        .with_context(|| format!("{} has no file that ends with {ending}", folder.display()))
}

/// Writes the initramfs that mounts the disks and starts systemd.
fn write_initramfs(kernel: &Kernel, path: &Path) -> Result<()> {
    let mut archive = Initramfs::default();
    for folder in ["dev", "proc", "root", "sys"] {
        archive.folder(&Path::new("/").join(folder))?;
    }
    archive.file(Path::new("/init"), INIT.as_bytes())?;
    archive.busybox(&GuestTools::get()?.program("busybox")?, &BUSYBOX)?;
    archive.modules(&kernel.modules(&MODULES)?)?;
    archive.write(&mut files::create(path)?)
}

/// Makes a copy of a package with a version before all others.
fn older_package(package: &Path, scratch: &Path, older: &Path) -> Result<()> {
    command::run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(scratch))?;
    let control = scratch.join("DEBIAN/control");
    let text = files::read_text(&control)?;
    let version = text.lines().find(|line| line.starts_with("Version: "));
    let version = version.with_context(|| format!("no version in {}", control.display()))?;
    files::write(&control, text.replace(version, "Version: 0~older"))?;
    command::output(Command::new("dpkg-deb").args(["--build", "-Znone"]).arg(scratch).arg(older)).map(|_| ())
}

fn write_executable(path: &Path, content: &str) -> Result<()> {
    files::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

impl SystemdTest {
    /// Boots the machine and prints the number of its checks. Returns the text of the console; the error has it too,
    /// with the checks that failed.
    pub(crate) fn run(&self) -> Result<String> {
        let start = Instant::now();
        let results = read_results(&mut self.machine.start(&self.console, LIMIT)?);
        let console = || {
            let text = fs::read(&self.console).unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        };
        let results = results.map_err(|error| anyhow!("{}\n{error:#}", console()))?;
        if !results.failed.is_empty() {
            bail!("{}\n{}", console(), results.failed.join("\n"));
        }
        report::line(&format!("{}, {} s: {} checks", self.name, start.elapsed().as_secs(), results.passed));
        Ok(console())
    }
}

#[derive(Debug, Default)]
struct Results {
    passed: usize,
    failed: Vec<String>,
}

/// Reads results until the last line of a test script. A kernel panic is an error, as the machine would boot again and
/// again.
fn read_results(running: &mut Running) -> Result<Results> {
    let mut results = Results::default();
    while let Some(line) = running.next_line()? {
        if line.contains("Kernel panic") {
            bail!("{line}");
        }
        let Some(text) = script_output(&line) else { continue };
        if text.starts_with("ok: ") {
            results.passed += 1;
        } else if text.starts_with("not ok: ") {
            results.failed.push(text.to_owned());
        } else if let Some(count) = text.strip_prefix("checks: ") {
            let arrived = results.passed + results.failed.len();
            if count != arrived.to_string() {
                bail!("the script made {count} checks, but {arrived} results have arrived");
            }
            return Ok(results);
        }
    }
    bail!("the machine ended before the script did")
}

/// The output of a test script in a line of the console, as journald forwards it:
/// `[   12.345678] test[143]: ok: ...`.
fn script_output(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("] test[")?;
    rest.split_once("]: ").map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_the_test_script_is_found_among_that_of_other_services() {
        assert_eq!(script_output("[   12.345678] test[143]: ok: it runs"), Some("ok: it runs"));
        assert_eq!(script_output("[   12.345678] systemd[1]: Started test.service"), None);
    }

    #[test]
    fn the_test_scripts_have_the_name_by_which_their_output_is_found() {
        let service = include_str!("systemd/test.service");
        assert!(service.lines().any(|line| line == "SyslogIdentifier=test"));
        assert!(LIBRARY.contains("echo \"checks: $checks\""));
        assert!(
            SCRIPTS
                .iter()
                .all(|script| script.text.ends_with("finish\n") || script.text.ends_with("finish\nfi\n"))
        );
    }
}
