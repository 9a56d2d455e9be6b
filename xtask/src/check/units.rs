//! Checks the systemd units: that systemd accepts them, and how it rates the exposure of the service.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, deps::apt, files, paths, report};

/// The worst rating that `systemd-analyze security` may give the service, in tenths.
const MAX_EXPOSURE: u32 = 20;

pub(crate) fn check() -> Result<()> {
    apt::install(&["systemd"])?;
    report::step("checking the systemd units");
    let folder = paths::target().join("units");
    files::create_folder(&folder)?;
    // systemd wants the program of a unit to exist, so copies of the units name another one.
    let copy = |name: &str, program: &str| -> Result<PathBuf> {
        let text = files::read_text(&paths::packaging(name))?;
        let copy = folder.join(name);
        files::write(&copy, text.replace(program, "/bin/true").replace("@DIR@", "/opt"))?;
        Ok(copy)
    };
    let verify = |unit: &Path, manager: &str| {
        command::run(
            Command::new("systemd-analyze")
                .args(["verify", manager, "--man=no", "--recursive-errors=no"])
                .arg(unit)
                .env("XDG_RUNTIME_DIR", &folder),
        )
    };
    let service = copy("m8refsvr-agent.service", "/usr/bin/m8refsvr-agent")?;
    verify(&service, "--system")?;
    verify(&copy("m8refsvr-agent.user.service", "@DIR@/m8refsvr-agent")?, "--user")?;
    exposure(&service)
}

fn exposure(service: &Path) -> Result<()> {
    let rating = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", &format!("--threshold={MAX_EXPOSURE}")])
        .arg(service)
        .output()
        .context("cannot start systemd-analyze")?;
    if !rating.status.success() {
        let output = String::from_utf8_lossy(&rating.stdout);
        let weak: Vec<&str> = output.lines().filter(|line| !line.starts_with('✓')).collect();
        bail!(
            "the service's exposure is rated worse than {}.{}:\n{}",
            MAX_EXPOSURE / 10,
            MAX_EXPOSURE % 10,
            weak.join("\n")
        );
    }
    Ok(())
}
