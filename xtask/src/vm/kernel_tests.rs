//! The kernel tests of the agent on one kernel, in one virtual machine. `init.sh` runs them there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{disk, kernels, qemu::Machine, test_image::TestImage};
use crate::{files, report};

pub(crate) const MEMORY_MIB: u32 = 1536;
/// Some of the tests need two CPUs.
const CPUS: u32 = 2;
/// Long, as emulation is slow; a machine that hangs still ends.
const LIMIT: Duration = Duration::from_secs(20 * 60);
const DISK_BYTES: u64 = 2 << 30;
const SPARE_DISK_BYTES: u64 = 64 << 20;
/// The kernel that reports version 2.6 to the tests and to the agents that they start: it shows that nothing is decided
/// by the version.
const REPORTS_2_6: &str = "6.12";

/// A machine that is ready to boot.
pub(crate) struct KernelTests {
    series: String,
    machine: Machine,
    console: PathBuf,
}

impl KernelTests {
    pub(crate) fn new(image: &TestImage, work: &Path, series: String, tests: &str) -> Result<Self> {
        let folder = work.join(&series);
        files::create_folder(&folder)?;
        let kernel = kernels::get(&series)?;
        let initrd = folder.join("initrd");
        image.write_initramfs(&kernel, &initrd)?;
        let disks = ["disk", "spare-1", "spare-2"].map(|name| folder.join(name)).to_vec();
        disk::create(&disks[0], DISK_BYTES)?;
        disk::format(&disks[0])?;
        for spare in &disks[1..] {
            disk::create(spare, SPARE_DISK_BYTES)?;
        }
        // Words that the kernel does not know become variables of its first process.
        let wrapper = if series == REPORTS_2_6 { "setarch --uname-2.6" } else { "" };
        let folder_of_tests = image.folder.display();
        let command_line = format!("quiet FOLDER={folder_of_tests} TESTS={tests:?} AS={wrapper:?}");
        let machine = Machine {
            kernel: kernel.image,
            initrd,
            command_line,
            memory_mib: MEMORY_MIB,
            cpus: CPUS,
            disks,
            reboots: false,
        };
        Ok(Self { series, machine, console: folder.join("console") })
    }

    /// Boots the machine and prints the results of the tests. Returns the text of the console, which an error has too.
    pub(crate) fn run(&self) -> Result<String> {
        let start = Instant::now();
        let mut running = self.machine.start(&self.console, LIMIT)?;
        let outcome = running.wait_for("machine: ended, ").and_then(|end| running.wait().map(|()| end));
        let console = fs::read(&self.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        match outcome.as_deref() {
            Ok("done") => {}
            Ok(end) => bail!("{end}\n{console}"),
            Err(error) => bail!("{error:#}\n{console}"),
        }
        let results = console.lines().filter(|line| {
            ["test result: ", "could not run here: "].iter().any(|start| line.starts_with(start))
        });
        let results: Vec<&str> = results.map(str::trim_end).collect();
        if results.iter().any(|line| line.contains(" 0 passed")) {
            bail!("no test has run\n{console}");
        }
        report::line(&format!(
            "Linux {}, {} s: {}",
            self.series,
            start.elapsed().as_secs(),
            results.join("\n    ")
        ));
        Ok(console)
    }
}
