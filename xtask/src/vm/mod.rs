//! `cargo xtask vm`: runs the kernel tests on other kernels, and the tests of the packages under systemd, each in a
//! virtual machine of its own, where nothing else runs.

mod debian;
mod disk;
mod guest_tools;
mod initramfs;
mod kernel_table;
mod kernel_tests;
mod kernels;
mod parallel;
mod qemu;
mod systemd;
mod test_image;

use anyhow::{Context as _, Result};
use kernel_table::Provided;
pub(crate) use kernel_table::Table;
use kernel_tests::KernelTests;
use parallel::Job;
use test_image::TestImage;

use crate::{deps::apt, files, paths};

/// The name by which the tests under systemd are selected, beside those of the kernels.
const SYSTEMD: &str = "systemd";

/// The names of all machines: `systemd` and those of the kernels.
pub(crate) fn machines() -> impl Iterator<Item = &'static str> {
    [SYSTEMD].into_iter().chain(kernels::series())
}

/// Runs the tests of the machines with these names, or of all. `tests` selects kernel tests by a part of their names. A
/// run of everything also writes or checks the table in the README.
pub(crate) fn vm(names: &[String], tests: &str, table: Table) -> Result<()> {
    apt::install(&["qemu-system-x86", "e2fsprogs", "xz-utils"])?;
    let is_whole = names.is_empty() && tests.is_empty();
    let names = if names.is_empty() { machines().map(str::to_owned).collect() } else { names.to_vec() };
    let (with_systemd, kernels): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name == SYSTEMD);
    let work = paths::target().join("vm");
    files::create_folder(&work)?;
    let mut jobs: Vec<Job> = Vec::new();
    if !with_systemd.is_empty() {
        for test in systemd::prepare(&work)? {
            jobs.push((test.name.to_owned(), Box::new(move || test.run())));
        }
    }
    if !kernels.is_empty() {
        let image = TestImage::build(&work)?;
        for series in &kernels {
            let machine = KernelTests::new(&image, &work, series.clone(), tests)?;
            jobs.push((series.clone(), Box::new(move || machine.run())));
        }
    }
    let consoles = parallel::run(jobs, kernel_tests::MEMORY_MIB)?;
    if is_whole {
        let console = |series: &String| {
            consoles.get(series).with_context(|| format!("the console of Linux {series} is missing"))
        };
        let provided =
            kernels.iter().map(|series| Ok((series.clone(), Provided::from_console(console(series)?)?)));
        table.update(&provided.collect::<Result<Vec<_>>>()?)?;
    }
    Ok(())
}
