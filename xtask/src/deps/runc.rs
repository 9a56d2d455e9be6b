//! The container runtime runc, with which the tests start a container like that of the Kubernetes manifests.

use std::path::PathBuf;

use anyhow::Result;

use super::{apt, unpacked};

/// The program runc.
pub(crate) fn runc() -> Result<PathBuf> {
    apt::install(&["libseccomp2"])?;
    unpacked::program("runc", "runc", "usr/sbin/runc", "--version")
}
