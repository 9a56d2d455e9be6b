//! Runs virtual machines, as many at once as the processors and the memory of this host allow.

use std::{collections::BTreeMap, fs, sync::Mutex, thread};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::report;

/// A name, and a function that runs a machine and returns the text of its console.
pub(crate) type Job = (String, Box<dyn Fn() -> Result<String> + Send>);

/// Runs all jobs to their end, also when one fails. Returns the consoles by the names of the jobs. No machine has more
/// memory than `memory_mib`.
pub(crate) fn run(jobs: Vec<Job>, memory_mib: u32) -> Result<BTreeMap<String, String>> {
    let at_once = at_once(memory_mib)?;
    report::step(&format!("testing in {} machines, {at_once} at once", jobs.len()));
    let outcomes = Mutex::new(BTreeMap::new());
    let queue = Mutex::new(jobs.into_iter());
    let next = || queue.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some((name, job)) = next() {
                    let outcome = job();
                    if let Err(error) = &outcome {
                        report::line(&format!("{name}: {error:#}"));
                    }
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.insert(name, outcome.ok());
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().map_err(|_| anyhow!("the thread of a machine panicked"))?;
    let failed = outcomes.iter().filter(|(_, console)| console.is_none()).map(|(name, _)| name.as_str());
    let failed: Vec<&str> = failed.collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(outcomes.into_iter().filter_map(|(name, console)| Some((name, console?))).collect())
}

fn at_once(memory_mib: u32) -> Result<usize> {
    let processors = thread::available_parallelism().context("cannot count the processors")?.get();
    let memory = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let available =
        memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next());
    let kib: u64 = available.and_then(|kib| kib.parse().ok()).context("no MemAvailable in /proc/meminfo")?;
    let machines = usize::try_from(kib / 1024 / u64::from(memory_mib))?;
    Ok(processors.min(machines).max(1))
}
