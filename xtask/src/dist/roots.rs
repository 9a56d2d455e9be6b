//! Where the program is tried: Debian's C libraries, from the oldest that the archive has to the newest. They are
//! unpacked below the cache and stay there.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{apt::Suite, host, keep};

/// glibc 2.31, 2.36, 2.41, and the newest.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];
/// The program needs nothing else: the libraries that glibc 2.34 has made empty are in it too.
const PACKAGES: [&str; 1] = ["libc6"];

/// A folder with a root for each suite, named by it.
pub(crate) fn roots() -> Result<PathBuf> {
    let folder = host::cache()?.join("roots");
    for suite in SUITES {
        let root = folder.join(suite);
        if !root.is_dir() {
            keep::make(&root, |scratch| Suite::new(suite, scratch)?.unpack(PACKAGES))
                .with_context(|| format!("Debian's {suite} gave no C library"))?;
        }
    }
    Ok(folder)
}
