//! `cargo xtask vm`: the tests that need a kernel, on kernels other than the running one, each in a machine of its own
//! where they are the only processes; and what users install, in machines with systemd.

mod guest;
mod image;
mod initramfs;
mod kernels;
mod qemu;
mod systemd;
mod table;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use guest::Guest;
use qemu::Machine;
use table::Given;
pub(crate) use table::Table;

use crate::{build, host};

const MEMORY_MIB: u32 = 1536;
/// Some of the tests need two.
const CPUS: u32 = 2;
/// Emulation is slow, and a machine that hangs must not take for ever.
const LIMIT: Duration = Duration::from_secs(20 * 60);
const DISK_BYTES: u64 = 2 << 30;
const SPARE_DISK_BYTES: u64 = 64 << 20;

/// The kernel that calls itself 2.6 to the tests and to the agents that they start: nothing is decided by its version.
const DISGUISED: &str = "6.12";
/// What is no kernel, but can be named like one.
const SYSTEMD: &str = "systemd";

/// What is done in a machine, and its name; it returns what the machine wrote on its console.
type Job = (String, Box<dyn Fn() -> Result<String> + Send>);

/// Runs the tests on these kernels, and what is proven with systemd where that is named, or all; of the tests those that
/// contain `tests` in their names. Where all ran on all, the README's table of kernels is settled.
pub(crate) fn vm(machines: &[String], tests: &str, table: Table) -> Result<()> {
    host::install(&["qemu-system-x86", "e2fsprogs", "xz-utils"])?;
    let is_whole = machines.is_empty() && tests.is_empty();
    let all = [SYSTEMD].into_iter().chain(kernels::series()).map(str::to_owned).collect();
    let machines: Vec<String> = if machines.is_empty() { all } else { machines.to_vec() };
    let (with_systemd, kernels): (Vec<_>, Vec<_>) = machines.into_iter().partition(|name| name == SYSTEMD);
    let work = build::target_folder().join("vm");
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let mut jobs: Vec<Job> = Vec::new();
    if !with_systemd.is_empty() {
        for proof in systemd::prepare(&work)? {
            jobs.push((proof.name.to_owned(), Box::new(move || proof.run())));
        }
    }
    if !kernels.is_empty() {
        let guest = Guest::new(&work)?;
        for series in &kernels {
            let machine = Prepared::new(&guest, &work, series.clone(), tests)?;
            jobs.push((series.clone(), Box::new(move || machine.run())));
        }
    }
    let consoles = run(jobs)?;
    if is_whole {
        let on =
            |series: &String| consoles.get(series).with_context(|| format!("Linux {series} said nothing"));
        let given = kernels.iter().map(|series| Ok((series.clone(), Given::on(on(series)?)?)));
        table.settle(&given.collect::<Result<Vec<_>>>()?)?;
    }
    Ok(())
}

/// Runs as many at once as there is room for, and all to their end; returns what they wrote on their consoles, by their
/// names.
fn run(jobs: Vec<Job>) -> Result<BTreeMap<String, String>> {
    let at_once = at_once()?;
    host::step(&format!("testing in {} machines, {at_once} at once", jobs.len()));
    let outcomes = Mutex::new(BTreeMap::new());
    let queue = Mutex::new(jobs.into_iter());
    let next = || queue.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some((name, job)) = next() {
                    let outcome = job();
                    if let Err(error) = &outcome {
                        host::say(&format!("{name}: {error:#}"));
                    }
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.insert(name, outcome.ok());
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().map_err(|_| anyhow!("a machine's thread has panicked"))?;
    let failed = outcomes.iter().filter(|(_, console)| console.is_none()).map(|(name, _)| name.as_str());
    let failed: Vec<&str> = failed.collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(outcomes.into_iter().filter_map(|(name, console)| Some((name, console?))).collect())
}

/// How many machines the processors and the memory suffice for.
fn at_once() -> Result<usize> {
    let processors = thread::available_parallelism().context("cannot count the processors")?.get();
    let memory = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let available =
        memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next());
    let kib: u64 = available.and_then(|kib| kib.parse().ok()).context("no MemAvailable in /proc/meminfo")?;
    let machines = usize::try_from(kib / 1024 / u64::from(MEMORY_MIB))?;
    Ok(processors.min(machines).max(1))
}

/// A machine that can be started.
struct Prepared {
    series: String,
    machine: Machine,
    console: PathBuf,
}

impl Prepared {
    fn new(guest: &Guest, work: &Path, series: String, tests: &str) -> Result<Self> {
        let folder = work.join(&series);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let kernel = kernels::get(&series)?;
        let initrd = folder.join("initrd");
        guest.write_initramfs(&kernel, &initrd)?;
        let disks = ["disk", "spare-1", "spare-2"].map(|name| folder.join(name)).to_vec();
        guest::disk(&disks[0], DISK_BYTES)?;
        guest::format(&disks[0])?;
        for spare in &disks[1..] {
            guest::disk(spare, SPARE_DISK_BYTES)?;
        }
        // What the kernel does not know goes to its first process.
        let disguise = if series == DISGUISED { "setarch --uname-2.6" } else { "" };
        let folder_of_tests = guest.folder.display();
        let command_line = format!("quiet FOLDER={folder_of_tests} TESTS={tests:?} AS={disguise:?}");
        let machine = Machine {
            kernel: kernel.image,
            initrd,
            command_line,
            memory_mib: MEMORY_MIB,
            cpus: CPUS,
            disks,
            network: false,
            reboots: false,
        };
        Ok(Self { series, machine, console: folder.join("console") })
    }

    /// Boots it and says what the tests said; returns its console, which an error shows too.
    fn run(&self) -> Result<String> {
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
        let told = console.lines().filter(|line| {
            ["test result: ", "could not run here: "].iter().any(|start| line.starts_with(start))
        });
        let told: Vec<&str> = told.map(str::trim_end).collect();
        if told.iter().any(|line| line.contains(" 0 passed")) {
            bail!("no test has run\n{console}");
        }
        host::say(&format!(
            "Linux {}, {} s: {}",
            self.series,
            start.elapsed().as_secs(),
            told.join("\n    ")
        ));
        Ok(console)
    }
}
