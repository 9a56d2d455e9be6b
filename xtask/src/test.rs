//! `cargo xtask test`: runs all checks and tests, the cheap ones first. The first failure ends it.

use anyhow::Result;

use crate::{
    build,
    check::{dependencies, lint, manifests, units},
    command,
    deps::{c_libraries, receivers, runc},
    dist, report, vm,
};

pub(crate) fn test() -> Result<()> {
    command::require_root("the tests load BPF programs into the kernel", "test")?;
    lint::format()?;
    lint::shell_scripts()?;
    units::check()?;
    let not_checked = dependencies::check()?;
    build::ebpf_object(false)?;
    lint::clippy()?;
    report::step("testing the agent without the feature ebpf");
    command::run(&mut command::cargo(&[
        "test",
        "--quiet",
        "--package",
        "m8refsvr-agent",
        "--no-default-features",
    ]))?;
    manifests::check()?;
    let log_object = build::log_object()?;
    let receivers = receivers::install()?;
    let packages = dist::dist()?;
    report::step("testing, with the BPF programs in this kernel");
    command::run(
        command::cargo(&["test"])
            .env("M8REFSVR_LOG_OBJECT", log_object)
            .env("M8REFSVR_DIST", packages)
            .env("M8REFSVR_ROOTS", c_libraries::roots()?)
            .env("M8REFSVR_ROTEL", receivers.rotel)
            .env("M8REFSVR_MOCKOTLPSERVER", receivers.mockotlpserver)
            .env("M8REFSVR_NGINX", receivers.nginx)
            .env("M8REFSVR_VICTORIA_METRICS", receivers.victoria_metrics)
            .env("M8REFSVR_RUNC", runc::runc()?),
    )?;
    vm::vm(&[], "", vm::Table::Check)?;
    if let Some(reason) = not_checked {
        report::line(&format!("could not run here: {reason}"));
    }
    Ok(())
}
