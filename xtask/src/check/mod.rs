//! Checks without running the program: formats and lints, the dependencies, and the manifests for Kubernetes.

pub(crate) mod dependencies;
pub(crate) mod lint;
pub(crate) mod manifests;
pub(crate) mod units;
