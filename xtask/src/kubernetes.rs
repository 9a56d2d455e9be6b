//! What the manifests in `packaging/kubernetes` are checked with: Kubernetes' own schemas, and runc, which starts a
//! container with their settings. Both are kept in the cache.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{host, keep};

const VALIDATE_VERSION: &str = "1.37.0";
/// The oldest that knows every field that the manifests use, and the newest that the validator knows.
const KUBERNETES_VERSIONS: [&str; 2] = ["1.30", "1.37"];
const MANIFESTS: [&str; 3] = ["namespace.yaml", "configmap.yaml", "daemonset.yaml"];

/// Checks the manifests against the schemas, fields that no schema knows included.
pub(crate) fn check_manifests() -> Result<()> {
    let packages = validator()?;
    for version in KUBERNETES_VERSIONS {
        host::run(
            python(&packages)
                .args(["-m", "kubernetes_validate", "--strict", "--quiet", "-k", version])
                .args(MANIFESTS)
                .current_dir(host::root().join("packaging/kubernetes")),
        )
        .with_context(|| format!("the manifests are not what Kubernetes {version} takes"))?;
    }
    Ok(())
}

/// The folder of the package kubernetes-validate and those that it needs.
fn validator() -> Result<PathBuf> {
    let home = host::cache()?.join(format!("kubernetes-validate-{VALIDATE_VERSION}"));
    // Some of it is made for one version of Python.
    let works = || {
        let mut python = python(&home);
        python.args(["-m", "kubernetes_validate", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        python.status().is_ok_and(|status| status.success())
    };
    if !works() {
        host::install(&["python3-venv"])?;
        keep::pip(&home, &[format!("kubernetes-validate=={VALIDATE_VERSION}")], &[])
            .context("pip got no kubernetes-validate: it needs a way to its index")?;
    }
    Ok(home)
}

fn python(packages: &Path) -> Command {
    let mut command = Command::new(keep::PYTHON);
    command.env("PYTHONPATH", packages);
    command
}

/// The program runc.
pub(crate) fn runc() -> Result<PathBuf> {
    let home = host::cache()?.join("runc");
    let program = home.join("usr/sbin/runc");
    if !host::runs(&program, "--version") {
        host::install(&["libseccomp2"])?;
        keep::make(&home, |scratch| host::unpack(&["runc"], scratch))?;
    }
    if !host::runs(&program, "--version") {
        bail!("{} lacks libraries; install the whole package: apt-get install runc", program.display());
    }
    Ok(program)
}
