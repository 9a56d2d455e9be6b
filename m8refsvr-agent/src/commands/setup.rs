//! What commands work with, made from the settings: the runtime, a collector, and its events between two collections.

use std::{fmt::Display, fs::File, io, process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::runtime::Runtime;

use super::{
    failure::{KernelPart, WrongUsage},
    signals::Handed,
};
use crate::{
    bpf::Kernel,
    cli::Ebpf,
    collector::Collector,
    config::Settings,
    export::otlp::{TlsError, keep_panics_of_requests},
    proc::{Proc, is_proc},
    service::event_wakeup::EventWakeup,
    sys::capabilities,
};

/// What failed where a collection was not possible.
pub(super) const READING: &str = "cannot read /proc";

/// Collections are in the thread that blocks on it; what waits for the network is in the other.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    keep_panics_of_requests();
    let runtime = enough_descriptors().and_then(|()| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            // For the resolution of names, as each attempt may leave a thread behind that hangs.
            .max_blocking_threads(4)
            .on_thread_start(capabilities::for_files)
            .enable_all()
            .build()
    });
    runtime.context("cannot start")
}

/// tokio takes it for impossible that its signal handler gets no descriptors.
fn enough_descriptors() -> io::Result<()> {
    const NEEDED: usize = 12;
    (0..NEEDED).map(|_| File::open("/dev/null")).collect::<io::Result<Vec<_>>>().map(|_| ())
}

/// A collector by the settings, with BPF programs as they want it.
pub(super) fn collector(settings: &Settings, notice: &dyn Fn(&dyn Display)) -> anyhow::Result<Collector> {
    let proc = proc_of(settings)?;
    let kernel = match settings.ebpf {
        Ebpf::Off => None,
        Ebpf::Require => {
            let kernel = Kernel::attach(&settings.kernel)?;
            if let Some(problem) = kernel.problems().first() {
                return Err(KernelPart(problem.clone()).into());
            }
            Some(kernel)
        }
        Ebpf::Auto => Kernel::attach(&settings.kernel)
            .inspect_err(|error| notice(&format_args!("going on with /proc alone: {error}")))
            .ok(),
    };
    if let Some(problem) = kernel.as_ref().and_then(Kernel::pin_problem) {
        tracing::debug!("`debug dump` will not find this agent: {problem}");
    }
    Ok(Collector::new(proc, settings.selector.clone(), kernel))
}

/// The /proc that the settings name.
pub(super) fn proc_of(settings: &Settings) -> Result<Proc, WrongUsage> {
    let root = &settings.proc_root;
    if !is_proc(root) {
        let (root, name) = (root.display(), settings.origins.name("proc_root"));
        let advice = format!("mount the host's there, or leave out {name}");
        return Err(WrongUsage(format!("{name}: {root} is not a /proc: {advice}")));
    }
    Ok(Proc::new(root))
}

/// An error of a file for TLS, with the flag or variable that named the file.
pub(super) fn named(settings: &Settings, error: TlsError) -> anyhow::Error {
    match settings.name_of_file(&error) {
        Some(name) => anyhow::Error::from(error).context(name),
        None => error.into(),
    }
}

/// Follows the events of the BPF programs for a while. Where a signal ends it, returns the exit code.
pub(super) async fn follow(
    collector: &mut Collector,
    signals: &mut Handed,
    time: Duration,
) -> anyhow::Result<Option<ExitCode>> {
    let end = tokio::time::Instant::now() + time;
    let wakeup = EventWakeup::new(collector).context("cannot wait")?;
    loop {
        tokio::select! {
            biased;
            ended = signals.next() => return Ok(Some(ended)),
            () = tokio::time::sleep_until(end) => return Ok(None),
            () = wakeup.wait() => {}
        }
        collector.follow().context(READING)?;
    }
}
