//! The product as users install it: machines boot a Debian with systemd, and a script in each proves what it says in
//! sentences. `systemd/lib.sh` tells how the scripts say it.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{
    guest, image,
    initramfs::Initramfs,
    kernels::{self, Kernel},
    qemu::{Machine, Running},
};
use crate::{dist, host, receivers};

/// A script, and the Debian and the kernel of the machine in which it runs.
struct Script {
    name: &'static str,
    text: &'static str,
    /// This machine's, where none is named.
    suite: Option<&'static str>,
    kernel: &'static str,
}

/// What is proven, each in a machine of its own.
const PROOFS: [Script; 3] = [
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
const OF_BUSYBOX: [&str; 4] = ["insmod", "mount", "sh", "switch_root"];
const MEMORY_MIB: u32 = 1024;
/// Emulation is slow, and a machine that hangs must not take for ever.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A machine that proves something.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) name: &'static str,
    machine: Machine,
    console: PathBuf,
}

/// Makes the packages and the machines, which can then run at the same time.
pub(crate) fn prepare(work: &Path) -> Result<Vec<Proof>> {
    if !host::is_root() {
        bail!(
            "a file system of root's is made; this does it:\n\n    sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask \
             vm systemd\n"
        );
    }
    let dist = dist::dist()?;
    let (package, tarball) = (find(&dist, ".deb")?, find(&dist, ".tar.gz")?);
    let rotel = receivers::rotel()?;
    let prepare = |script: Script| {
        let debian = image::debian(script.suite)?;
        let kernel = kernels::get(script.kernel)?;
        let folder = work.join(script.name);
        empty(&folder)?;
        let initrd = folder.join("initrd");
        write_initramfs(&kernel, &initrd)?;
        let root = folder.join("root.ext4");
        // Each has its own to change; most of it are holes.
        host::run(Command::new("cp").arg("--sparse=always").arg(&debian).arg(&root))?;
        let files = folder.join("proof");
        empty(&files)?;
        write(&files.join("run"), script.text)?;
        write(&files.join("lib.sh"), LIBRARY)?;
        copy(&rotel, &files.join("rotel-agent"))?;
        copy(&package, &files.join("newer.deb"))?;
        copy(&tarball, &files.join("newer.tar.gz"))?;
        older(&package, &folder.join("older"), &files.join("older.deb"))?;
        let disk = folder.join("proof.ext4");
        image::ext4(&files, &disk, 128)?;
        let machine = Machine {
            kernel: kernel.image,
            initrd,
            command_line: "quiet".to_owned(),
            memory_mib: MEMORY_MIB,
            cpus: 1,
            disks: vec![root, disk],
            network: false,
            reboots: true,
        };
        Ok(Proof { name: script.name, machine, console: folder.join("console") })
    };
    PROOFS.into_iter().map(prepare).collect()
}

/// The file whose name ends like this.
fn find(folder: &Path, end: &str) -> Result<PathBuf> {
    let cannot = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.to_string_lossy().ends_with(end) {
            return Ok(path);
        }
    }
    bail!("{} has no file that ends with {end}", folder.display())
}

/// What starts systemd.
fn write_initramfs(kernel: &Kernel, path: &Path) -> Result<()> {
    let mut archive = Initramfs::default();
    for folder in ["dev", "proc", "root", "sys"] {
        archive.folder(&Path::new("/").join(folder))?;
    }
    archive.file(Path::new("/init"), INIT.as_bytes())?;
    archive.copy(Path::new("/bin/busybox"), &guest::busybox()?)?;
    for name in OF_BUSYBOX {
        archive.link(&Path::new("/bin").join(name), Path::new("busybox"))?;
    }
    let modules = kernel.modules(&MODULES)?;
    for module in &modules {
        archive.file(&Path::new("/modules").join(&module.file), &module.content)?;
    }
    let order: String = modules.iter().map(|module| format!("{}\n", module.file)).collect();
    archive.file(Path::new("/modules/order"), order.as_bytes())?;
    let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    archive.write(&mut file)
}

/// Makes of a package one of a version before all others.
fn older(package: &Path, scratch: &Path, older: &Path) -> Result<()> {
    host::run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(scratch))?;
    let control = scratch.join("DEBIAN/control");
    let text = fs::read_to_string(&control).with_context(|| format!("cannot read {}", control.display()))?;
    let version = text.lines().find(|line| line.starts_with("Version: "));
    let version = version.with_context(|| format!("no version in {}", control.display()))?;
    write(&control, &text.replace(version, "Version: 0~older"))?;
    host::output(Command::new("dpkg-deb").args(["--build", "-Znone"]).arg(scratch).arg(older)).map(|_| ())
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn write(path: &Path, content: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    fs::write(path, content).with_context(cannot)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(cannot)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let cannot = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::copy(from, to).map(|_| ()).with_context(cannot)
}

impl Proof {
    /// Boots the machine; an error tells what it did not prove, and shows its console.
    pub(crate) fn run(&self) -> Result<String> {
        let start = Instant::now();
        let heard = hear(&mut self.machine.start(&self.console, LIMIT)?);
        let console = || {
            let text = fs::read(&self.console).unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        };
        let heard = heard.map_err(|error| anyhow!("{}\n{error:#}", console()))?;
        if !heard.failed.is_empty() {
            bail!("{}\n{}", console(), heard.failed.join("\n"));
        }
        host::say(&format!("{}, {} s: {} checks", self.name, start.elapsed().as_secs(), heard.held));
        Ok(console())
    }
}

/// What a proof said.
#[derive(Debug, Default)]
struct Heard {
    held: usize,
    failed: Vec<String>,
}

/// Listens until a proof has said its last line. A machine whose kernel panicked would boot again for ever.
fn hear(running: &mut Running) -> Result<Heard> {
    let mut heard = Heard::default();
    while let Some(line) = running.next_line()? {
        if line.contains("Kernel panic") {
            bail!("{line}");
        }
        let Some(text) = said(&line) else { continue };
        if text.starts_with("ok: ") {
            heard.held += 1;
        } else if text.starts_with("not ok: ") {
            heard.failed.push(text.to_owned());
        } else if let Some(count) = text.strip_prefix("proven: ") {
            let told = heard.held + heard.failed.len();
            if count != told.to_string() {
                bail!("{count} checks were made, and {told} have arrived");
            }
            return Ok(heard);
        }
    }
    bail!("the machine ended before all was proven")
}

/// What a proof says in a line of the console, as journald forwards it: `[   12.345678] proof[143]: ok: ...`.
fn said(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("] proof[")?;
    rest.split_once("]: ").map(|(_, text)| text)
}
