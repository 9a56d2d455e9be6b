//! Checks the manifests in `packaging/kubernetes` against Kubernetes' own schemas. The validator comes from PyPI and
//! stays in the cache.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{command, deps::pip, paths, report};

const VALIDATE_VERSION: &str = "1.37.0";
/// The oldest version that has every field of the manifests, and the newest that the validator has.
const KUBERNETES_VERSIONS: [&str; 2] = ["1.30", "1.37"];
const MANIFESTS: [&str; 3] = ["namespace.yaml", "configmap.yaml", "daemonset.yaml"];

/// Checks the manifests; a field that no schema has is an error.
pub(crate) fn check() -> Result<()> {
    report::step("checking the manifests for Kubernetes");
    let packages = validator()?;
    for version in KUBERNETES_VERSIONS {
        command::run(
            python(&packages)
                .args(["-m", "kubernetes_validate", "--strict", "--quiet", "-k", version])
                .args(MANIFESTS)
                .current_dir(paths::packaging("kubernetes")),
        )
        .with_context(|| format!("the manifests are not valid for Kubernetes {version}"))?;
    }
    Ok(())
}

/// The folder of the package kubernetes-validate and its dependencies.
fn validator() -> Result<PathBuf> {
    let folder = paths::cache()?.join(format!("kubernetes-validate-{VALIDATE_VERSION}"));
    // Some of the dependencies are compiled for one version of Python, so the folder alone proves nothing.
    if !command::succeeds(python(&folder).args(["-m", "kubernetes_validate", "--version"])) {
        pip::install(&folder, &[format!("kubernetes-validate=={VALIDATE_VERSION}")], &[])
            .context("pip could not install kubernetes-validate: it needs access to PyPI")?;
    }
    Ok(folder)
}

fn python(packages: &Path) -> Command {
    let mut command = Command::new(pip::PYTHON);
    command.env("PYTHONPATH", packages);
    command
}
