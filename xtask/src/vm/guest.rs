//! What is in a machine: the tests and the agent as cargo has built them, at the paths that are compiled into them, and
//! programs of Debian's that they call.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{
    initramfs::Initramfs,
    kernels::{Kernel, Module},
};
use crate::{build, host, keep};

const INIT: &str = include_str!("init.sh");
/// What `init.sh` and the tests call of busybox.
const OF_BUSYBOX: [&str; 9] = ["hostname", "insmod", "ip", "ln", "mkdir", "mount", "poweroff", "sh", "true"];
/// What the tests call that has to be the real thing.
const PROGRAMS: [&str; 8] = ["dd", "dmsetup", "lvm", "mdadm", "setarch", "sleep", "strace", "unshare"];
/// Debian's packages with programs that a machine of ours may lack.
const PACKAGES: [&str; 5] = ["busybox-static", "dmsetup", "lvm2", "mdadm", "strace"];
/// Modules of the kernel that the disks, and the tests of stacked devices need.
const MODULES: [&str; 6] = ["virtio_pci", "virtio_blk", "ext4", "dm_mod", "raid0", "raid1"];

/// The part that is the same in all machines.
#[derive(Debug)]
pub(crate) struct Guest {
    archive: PathBuf,
    /// Where the tests want a disk.
    pub(crate) folder: PathBuf,
}

impl Guest {
    /// Builds the tests and packs them.
    pub(crate) fn new(work: &Path) -> Result<Self> {
        let tools = tools()?;
        build::ebpf_object(false)?;
        let log_object = build::log_object()?;
        let tests = Tests::build()?;
        let mut archive = Initramfs::default();
        for folder in ["dev", "proc", "sys", "tmp"] {
            archive.folder(&Path::new("/").join(folder))?;
        }
        let folder = build::target_folder().join("tmp");
        archive.folder(&folder)?;
        archive.file(Path::new("/init"), INIT.as_bytes())?;
        archive.copy(Path::new("/m8refsvr-log.o"), &log_object)?;
        for name in OF_BUSYBOX {
            archive.link(&Path::new("/bin").join(name), Path::new("busybox"))?;
        }
        archive.copy(Path::new("/bin/busybox"), &program(&tools, "busybox")?)?;
        for name in PROGRAMS {
            archive.program(&Path::new("/bin").join(name), &program(&tools, name)?, &tools)?;
        }
        archive.program(Path::new("/tests"), &tests.program, &tools)?;
        archive.program(&tests.agent, &tests.agent, &tools)?;
        archive.link(Path::new("/bin/m8refsvr-agent"), &tests.agent)?;
        let path = work.join("guest.cpio");
        archive.write(&mut create(&path)?)?;
        Ok(Self { archive: path, folder })
    }

    /// Writes the initramfs of a machine with this kernel.
    pub(crate) fn write_initramfs(&self, kernel: &Kernel, path: &Path) -> Result<()> {
        let modules = kernel.modules(&MODULES)?;
        let mut archive = Initramfs::default();
        for Module { file, content } in &modules {
            archive.file(&Path::new("/modules").join(file), content)?;
        }
        let order: String = modules.iter().map(|module| format!("{}\n", module.file)).collect();
        archive.file(Path::new("/modules/order"), order.as_bytes())?;
        fs::copy(&self.archive, path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = File::options().append(true).open(path);
        archive.write(file.as_mut().map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?)
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

/// What cargo has built.
struct Tests {
    program: PathBuf,
    agent: PathBuf,
}

impl Tests {
    fn build() -> Result<Self> {
        // As it is shipped; and what is not optimized takes too long in emulation.
        let mut build = host::cargo(&["test", "--no-run", "--release", "--package", "m8refsvr-agent"]);
        build.args(["--test", "kernel"]);
        let messages = host::output(build.arg("--message-format=json-render-diagnostics"))?;
        let artifacts: Vec<serde_json::Value> = messages
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|message: &serde_json::Value| message["reason"] == "compiler-artifact")
            .collect();
        let executable = |name: &str| {
            let mut found = artifacts.iter().filter(|artifact| artifact["target"]["name"] == name);
            let path = found.find_map(|artifact| artifact["executable"].as_str());
            path.map(PathBuf::from).with_context(|| format!("cargo built no {name}"))
        };
        Ok(Self { program: executable("kernel")?, agent: executable("m8refsvr-agent")? })
    }
}

/// The busybox that machines start with.
pub(crate) fn busybox() -> Result<PathBuf> {
    program(&tools()?, "busybox")
}

/// Debian's packages that this machine lacks, unpacked in the cache and not installed, as some of them start services.
fn tools() -> Result<PathBuf> {
    let home = host::cache()?.join("guest-tools");
    if !home.is_dir() {
        keep::make(&home, |scratch| host::unpack(&PACKAGES, scratch))?;
    }
    Ok(home)
}

/// Where a program is: among the tools, or on this machine.
fn program(tools: &Path, name: &str) -> Result<PathBuf> {
    let roots = [tools, Path::new("/")];
    let folders = ["bin", "sbin", "usr/bin", "usr/sbin"];
    let mut paths = roots.iter().flat_map(|root| folders.map(|folder| root.join(folder).join(name)));
    paths.find(|path| path.is_file()).with_context(|| {
        format!("no program {name} in {} nor on this machine: remove the folder", tools.display())
    })
}

/// Makes an empty file that is so big, without taking the room.
pub(crate) fn disk(path: &Path, bytes: u64) -> Result<()> {
    create(path)?.set_len(bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a file system in a file.
pub(crate) fn format(path: &Path) -> Result<()> {
    let program = program(Path::new("/"), "mke2fs")?;
    host::run(Command::new(program).args(["-q", "-F", "-t", "ext4"]).arg(path).stdout(Stdio::null()))
}
