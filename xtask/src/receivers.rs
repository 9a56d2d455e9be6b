//! What the export is tested against: three receivers and a proxy that others wrote. They are kept in the cache, and
//! nothing of them is installed into the system but the libraries and interpreters they need.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{apt::Suite, host, keep};

const ROTEL_VERSION: &str = "0.0.1a15";
const MOCKOTLPSERVER_VERSION: &str = "0.10.0";
const NGINX: &str = "usr/sbin/nginx";
/// The only suite of Debian's with a VictoriaMetrics that takes OTLP. It wants glibc 2.34 and a libzstd that is newer
/// than bookworm's, so the library comes with it.
const VICTORIA_METRICS_SUITE: &str = "sid";
const VICTORIA_METRICS_PACKAGES: [&str; 2] = ["victoria-metrics", "libzstd1"];
/// Below the packages' root; the tests find the library from the program's path.
const VICTORIA_METRICS: &str = "usr/bin/victoria-metrics";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Receivers {
    /// The program of the receiver rotel.
    pub(crate) rotel: PathBuf,
    /// The folder of the package @elastic/mockotlpserver, which `node` runs.
    pub(crate) mockotlpserver: PathBuf,
    /// The program of the proxy nginx.
    pub(crate) nginx: PathBuf,
    /// The program of VictoriaMetrics, a receiver that stores what it receives.
    pub(crate) victoria_metrics: PathBuf,
}

/// Makes sure that all are there.
pub(crate) fn install() -> Result<Receivers> {
    let folder = folder()?;
    Ok(Receivers {
        rotel: rotel()?,
        mockotlpserver: mockotlpserver(&folder)?,
        nginx: nginx(&folder)?,
        victoria_metrics: victoria_metrics(&folder)?,
    })
}

fn folder() -> Result<PathBuf> {
    Ok(host::cache()?.join("receivers"))
}

/// The program of the receiver rotel; makes sure that it is there.
pub(crate) fn rotel() -> Result<PathBuf> {
    let home = folder()?.join(format!("rotel-{ROTEL_VERSION}"));
    let program = home.join("rotel/rotel-agent");
    if host::runs(&program, "--version") {
        return Ok(program);
    }
    host::install(&["python3-venv"])?;
    host::install(&[&libpython()?])?;
    if host::runs(&program, "--version") {
        return Ok(program);
    }
    keep::pip(&home, &[format!("rotel=={ROTEL_VERSION}")], &["--no-deps"]).context(
        "pip got no rotel: it needs a way to its index, and rotel a Linux with glibc 2.34 or later",
    )?;
    if !host::runs(&program, "--version") {
        bail!("{} was installed but does not run", program.display());
    }
    Ok(program)
}

/// Debian's package of the library that rotel's program is linked with.
pub(crate) fn libpython() -> Result<String> {
    let version = "import sys; print('libpython%d.%d' % sys.version_info[:2])";
    Ok(host::output(Command::new(keep::PYTHON).args(["-c", version]))?.trim_end().to_owned())
}

fn mockotlpserver(folder: &Path) -> Result<PathBuf> {
    let needs: Vec<_> = [("node", "nodejs"), ("npm", "npm")]
        .into_iter()
        .filter_map(|(program, package)| (!host::has_program(program)).then_some(package))
        .collect();
    host::install(&needs)?;
    let home = folder.join(format!("mockotlpserver-{MOCKOTLPSERVER_VERSION}"));
    if !home.is_dir() {
        keep::make(&home, |scratch| {
            // What it says when all went well is of no interest.
            host::output(
                Command::new("npm")
                    .args(["install", "--loglevel", "error", "--no-audit", "--no-fund", "--ignore-scripts"])
                    .arg("--prefix")
                    .arg(scratch)
                    .arg(format!("@elastic/mockotlpserver@{MOCKOTLPSERVER_VERSION}")),
            )
            .context("npm got no mockotlpserver: it needs a way to its registry")?;
            Ok(scratch.to_owned())
        })?;
    }
    Ok(home.join("node_modules/@elastic/mockotlpserver"))
}

/// Debian's nginx, unpacked where there is none: its installation would start a server on port 80, now and whenever
/// the machine starts.
fn nginx(folder: &Path) -> Result<PathBuf> {
    let system = Path::new("/").join(NGINX);
    if host::runs(&system, "-v") {
        return Ok(system);
    }
    let home = folder.join("nginx");
    let program = home.join(NGINX);
    if host::runs(&program, "-v") {
        return Ok(program);
    }
    keep::make(&home, |scratch| host::unpack(&["nginx"], scratch))?;
    if !host::runs(&program, "-v") {
        bail!("{} lacks libraries; install the whole package: apt-get install nginx", program.display());
    }
    Ok(program)
}

/// Debian's VictoriaMetrics, unpacked: its installation would start a server on port 8428, now and whenever the machine
/// starts.
fn victoria_metrics(folder: &Path) -> Result<PathBuf> {
    let home = folder.join("victoria-metrics");
    let program = home.join(VICTORIA_METRICS);
    let runs = || {
        let mut command = Command::new(&program);
        command.arg("-version").env("LD_LIBRARY_PATH", home.join(LIBRARIES));
        command.output().is_ok_and(|output| output.status.success())
    };
    if runs() {
        return Ok(program);
    }
    keep::make(&home, |scratch| {
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
