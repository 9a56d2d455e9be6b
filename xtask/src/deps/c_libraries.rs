//! Debian's C libraries, from the oldest in the archive to the newest. The tests of the packages run the program with
//! each of them. They are unpacked in the cache and stay there.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{cache, suite::Suite};
use crate::paths;

/// glibc 2.31, 2.36, 2.41, and the newest. `tests/packages` has a test for each.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];
/// The program needs nothing else. The libraries that are empty since glibc 2.34 are in this package too.
const PACKAGES: [&str; 1] = ["libc6"];

/// A folder with a root folder for each suite, which has the suite's name.
pub(crate) fn roots() -> Result<PathBuf> {
    let folder = paths::cache()?.join("roots");
    for suite in SUITES {
        let root = folder.join(suite);
        if !root.is_dir() {
            cache::make(&root, |scratch| Suite::new(suite, scratch)?.unpack(PACKAGES))
                .with_context(|| format!("the C library of Debian's {suite} could not be downloaded"))?;
        }
    }
    Ok(folder)
}
