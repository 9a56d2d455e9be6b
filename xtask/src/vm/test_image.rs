//! The initramfs of the kernel tests: the tests and the agent as cargo has built them, at the paths that are compiled
//! into them, and the programs that they call.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{guest_tools::GuestTools, initramfs::Initramfs, kernels::Kernel};
use crate::{build, command, files, paths};

const INIT: &str = include_str!("init.sh");
/// The programs of busybox that `init.sh` and the tests call.
const BUSYBOX: [&str; 9] = ["hostname", "insmod", "ip", "ln", "mkdir", "mount", "poweroff", "sh", "true"];
/// Programs that the tests call and for which busybox is no replacement.
const PROGRAMS: [&str; 8] = ["dd", "dmsetup", "lvm", "mdadm", "setarch", "sleep", "strace", "unshare"];
/// Kernel modules of the disks and of the tests of stacked block devices.
const MODULES: [&str; 6] = ["virtio_pci", "virtio_blk", "ext4", "dm_mod", "raid0", "raid1"];

/// The part of the initramfs that is the same for all kernels.
#[derive(Debug)]
pub(crate) struct TestImage {
    archive: PathBuf,
    /// The folder in which the tests need a disk.
    pub(crate) folder: PathBuf,
}

impl TestImage {
    /// Builds the tests and packs them.
    pub(crate) fn build(work: &Path) -> Result<Self> {
        let tools = GuestTools::get()?;
        build::ebpf_object(false)?;
        let log_object = build::log_object()?;
        // In release mode, like the packages; a debug build takes too long in emulation.
        let built = build::executables(&mut command::cargo(&[
            "test",
            "--release",
            "--package",
            "m8refsvr-agent",
            "--test",
            "kernel",
        ]))?;
        let executable = |name: &str| built.get(name).with_context(|| format!("cargo did not build {name}"));
        let (tests, agent) = (executable("kernel")?, executable("m8refsvr-agent")?);
        let mut archive = Initramfs::default();
        for folder in ["dev", "proc", "sys", "tmp"] {
            archive.folder(&Path::new("/").join(folder))?;
        }
        let folder = paths::target().join("tmp");
        archive.folder(&folder)?;
        archive.file(Path::new("/init"), INIT.as_bytes())?;
        archive.copy(Path::new("/m8refsvr-log.o"), &log_object)?;
        archive.busybox(&tools.program("busybox")?, &BUSYBOX)?;
        for name in PROGRAMS {
            archive.program(&Path::new("/bin").join(name), &tools.program(name)?, &tools.root)?;
        }
        archive.program(Path::new("/tests"), tests, &tools.root)?;
        archive.program(agent, agent, &tools.root)?;
        archive.link(Path::new("/bin/m8refsvr-agent"), agent)?;
        let path = work.join("guest.cpio");
        archive.write(&mut files::create(&path)?)?;
        Ok(Self { archive: path, folder })
    }

    /// Writes the initramfs for one kernel.
    pub(crate) fn write_initramfs(&self, kernel: &Kernel, path: &Path) -> Result<()> {
        let mut archive = Initramfs::default();
        archive.modules(&kernel.modules(&MODULES)?)?;
        files::copy(&self.archive, path)?;
        let file = File::options().append(true).open(path);
        archive.write(&mut file.with_context(|| format!("cannot write {}", path.display()))?)
    }
}
