//! What the exports are tested with: three receivers and a proxy, none of them ours. They stay in the cache; only the
//! libraries and interpreters that they need are installed into the system.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{apt, cache, pip, suite::Suite, unpacked};
use crate::{command, paths};

const ROTEL_VERSION: &str = "0.0.1a15";
const MOCKOTLPSERVER_VERSION: &str = "0.10.0";
const NGINX: &str = "usr/sbin/nginx";
/// The only suite of Debian with a VictoriaMetrics that accepts OTLP. It needs glibc 2.34 and a newer libzstd than
/// bookworm has, so that library is unpacked with it.
const VICTORIA_METRICS_SUITE: &str = "sid";
const VICTORIA_METRICS_PACKAGES: [&str; 2] = ["victoria-metrics", "libzstd1"];
/// Below the packages' root; the tests find the library from the program's path.
const VICTORIA_METRICS: &str = "usr/bin/victoria-metrics";

#[derive(Debug)]
pub(crate) struct Receivers {
    /// The program of the receiver rotel.
    pub(crate) rotel: PathBuf,
    /// The folder of the npm package @elastic/mockotlpserver, which `node` runs.
    pub(crate) mockotlpserver: PathBuf,
    /// The program of the proxy nginx.
    pub(crate) nginx: PathBuf,
    /// The program of VictoriaMetrics, a receiver that stores what it receives.
    pub(crate) victoria_metrics: PathBuf,
}

/// Installs all of them, unless the cache has them.
pub(crate) fn install() -> Result<Receivers> {
    Ok(Receivers {
        rotel: rotel()?,
        mockotlpserver: mockotlpserver()?,
        nginx: nginx()?,
        victoria_metrics: victoria_metrics()?,
    })
}

/// The folder of a receiver, below the cache.
fn folder(name: &str) -> String {
    format!("receivers/{name}")
}

/// The program of the receiver rotel; installs it, unless the cache has it.
pub(crate) fn rotel() -> Result<PathBuf> {
    let home = paths::cache()?.join(folder(&format!("rotel-{ROTEL_VERSION}")));
    let program = home.join("rotel/rotel-agent");
    if command::runs(&program, "--version") {
        return Ok(program);
    }
    apt::install(&[&libpython()?])?;
    if command::runs(&program, "--version") {
        return Ok(program);
    }
    pip::install(&home, &[format!("rotel=={ROTEL_VERSION}")], &["--no-deps"]).context(
        "pip could not install rotel: it needs access to PyPI, and rotel a Linux with glibc 2.34 or later",
    )?;
    if !command::runs(&program, "--version") {
        bail!("{} was installed but does not run", program.display());
    }
    Ok(program)
}

/// Debian's package of the library that rotel is linked with.
pub(crate) fn libpython() -> Result<String> {
    let version = "import sys; print('libpython%d.%d' % sys.version_info[:2])";
    Ok(command::output(Command::new(pip::PYTHON).args(["-c", version]))?.trim_end().to_owned())
}

fn mockotlpserver() -> Result<PathBuf> {
    apt::install_programs(&[("node", "nodejs"), ("npm", "npm")])?;
    let home = paths::cache()?.join(folder(&format!("mockotlpserver-{MOCKOTLPSERVER_VERSION}")));
    if !home.is_dir() {
        cache::make(&home, |scratch| {
            // What npm prints on success is not shown.
            command::output(
                Command::new("npm")
                    .args(["install", "--loglevel", "error", "--no-audit", "--no-fund", "--ignore-scripts"])
                    .arg("--prefix")
                    .arg(scratch)
                    .arg(format!("@elastic/mockotlpserver@{MOCKOTLPSERVER_VERSION}")),
            )
            .context("npm could not install mockotlpserver: it needs access to its registry")?;
            Ok(scratch.to_owned())
        })?;
    }
    Ok(home.join("node_modules/@elastic/mockotlpserver"))
}

/// This machine's nginx, or Debian's package, unpacked: its installation would start a server on port 80, now and at
/// each boot.
fn nginx() -> Result<PathBuf> {
    let system = Path::new("/").join(NGINX);
    if command::runs(&system, "-v") {
        return Ok(system);
    }
    unpacked::program(&folder("nginx"), "nginx", NGINX, "-v")
}

/// Debian's VictoriaMetrics, unpacked: its installation would start a server on port 8428, now and at each boot.
fn victoria_metrics() -> Result<PathBuf> {
    let home = paths::cache()?.join(folder("victoria-metrics"));
    let program = home.join(VICTORIA_METRICS);
    let runs = || {
        let mut command = Command::new(&program);
        command::succeeds(command.arg("-version").env("LD_LIBRARY_PATH", home.join(apt::LIBRARIES)))
    };
    if runs() {
        return Ok(program);
    }
    cache::make(&home, |scratch| {
        Suite::new(VICTORIA_METRICS_SUITE, scratch)?.unpack(VICTORIA_METRICS_PACKAGES)
    })
    .with_context(|| format!("Debian's {VICTORIA_METRICS_SUITE} gave no VictoriaMetrics"))?;
    if !runs() {
        bail!(
            "{} does not run: it needs an amd64 Linux with glibc 2.34 or later; remove {} to unpack it again",
            program.display(),
            home.display()
        );
    }
    Ok(program)
}
