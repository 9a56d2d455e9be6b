//! The generated parts of documents: the agent's example `reference` makes them from the catalogue of metrics.

use anyhow::Result;

use crate::{command, paths, report};

/// Documents with generated parts.
const DOCUMENTS: [&str; 1] = ["README.md"];

pub(crate) fn docs() -> Result<()> {
    report::step("generating tables in the documents");
    let arguments = ["run", "--quiet", "--package", "m8refsvr-agent", "--example", "reference", "--"];
    command::run(command::cargo(&arguments).args(DOCUMENTS.map(|path| paths::root().join(path))))
}
