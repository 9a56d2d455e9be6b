//! `cargo xtask bench hooks`: what a context switch costs.

use anyhow::Result;

use crate::{build, host};

pub(super) fn hooks() -> Result<()> {
    build::ebpf_object(false)?;
    let reference = build::reference_object()?;
    host::step("measuring");
    host::run(
        host::cargo(&["bench", "--quiet", "--package", "m8refsvr-agent", "--bench", "hooks"])
            .env("M8REFSVR_REFERENCE_OBJECT", reference),
    )
}
