//! `cargo xtask test`: everything that must hold. Cheap checks first; the first failure ends it.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{build, deny, dist, host, kubernetes, lint, receivers, vm};

pub(crate) fn test() -> Result<()> {
    if !host::is_root() {
        bail!(
            "the tests load programs into the kernel; this runs them:\n\n    sudo env \"PATH=$PATH\" \
             \"HOME=$HOME\" cargo xtask test\n"
        );
    }
    step("checking the format", host::cargo(&["fmt", "--all", "--check"]))?;
    lint::all()?;
    let not_checked = deny::check()?;
    build::ebpf_object(false)?;
    let clippy = |arguments: &[&str]| {
        let mut command = host::cargo(&["clippy", "--quiet"]);
        command.args(arguments).args(["--", "-D", "warnings"]);
        command
    };
    step("linting the agent", clippy(&["--all-targets"]))?;
    step(
        "linting the agent without the feature ebpf",
        clippy(&["--package", "m8refsvr-agent", "--no-default-features", "--all-targets"]),
    )?;
    // On its own: with the others its features would be unified, and its panic handler meet the standard one.
    step(
        "linting the eBPF crate",
        clippy(&["--package", "m8refsvr-ebpf", "--profile", "ebpf", "--bins", "--features", "bench,log"]),
    )?;
    step(
        "testing the agent without the feature ebpf",
        host::cargo(&["test", "--quiet", "--package", "m8refsvr-agent", "--no-default-features"]),
    )?;
    host::step("checking the manifests for Kubernetes");
    kubernetes::check_manifests()?;
    let log_object = build::log_object()?;
    let receivers = receivers::install()?;
    let packages = dist::dist()?;
    let mut tests = host::cargo(&["test"]);
    tests
        .env("M8REFSVR_LOG_OBJECT", log_object)
        .env("M8REFSVR_DIST", packages)
        .env("M8REFSVR_ROOTS", dist::roots()?)
        .env("M8REFSVR_ROTEL", receivers.rotel)
        .env("M8REFSVR_MOCKOTLPSERVER", receivers.mockotlpserver)
        .env("M8REFSVR_NGINX", receivers.nginx)
        .env("M8REFSVR_VICTORIA_METRICS", receivers.victoria_metrics)
        .env("M8REFSVR_RUNC", kubernetes::runc()?);
    step("testing, with the real programs in this kernel", tests)?;
    vm::vm(&[], "", vm::Table::Check)?;
    if let Some(reason) = not_checked {
        host::say(&format!("could not run here: {reason}"));
    }
    Ok(())
}

fn step(what: &str, mut command: Command) -> Result<()> {
    host::step(what);
    host::run(&mut command)
}
