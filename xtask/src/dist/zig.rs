//! What links the program against an old C library, on whatever machine that is done: cargo-zigbuild, and zig, which
//! knows the symbols of every version of glibc. Both come from Python's index and stay in the cache.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{host, keep};

const ZIGBUILD_VERSION: &str = "0.24.1";
const ZIG_VERSION: &str = "0.17.1";

/// The two programs.
#[derive(Debug)]
pub(crate) struct Zig {
    /// cargo-zigbuild, which has cargo link by zig.
    pub(crate) cargo_zigbuild: PathBuf,
    /// zig: a C compiler, a linker and the C libraries' symbols.
    pub(crate) zig: PathBuf,
    /// Where both keep what they make.
    pub(crate) cache: PathBuf,
}

impl Zig {
    /// Makes sure that they are there.
    pub(crate) fn get() -> Result<Self> {
        let cache = host::cache()?;
        let folder = cache.join(format!("zig-{ZIG_VERSION}-zigbuild-{ZIGBUILD_VERSION}"));
        if !folder.is_dir() {
            host::install(&["python3-venv"])?;
            let packages = [format!("cargo-zigbuild=={ZIGBUILD_VERSION}"), format!("ziglang=={ZIG_VERSION}")];
            keep::pip(&folder, &packages, &["--no-deps"]).context(
                "pip got no zig, which links the program against an old C library: it needs a way to its index",
            )?;
        }
        Ok(Self {
            cargo_zigbuild: folder.join("bin/cargo-zigbuild"),
            zig: folder.join("ziglang/zig"),
            cache: cache.join("zig"),
        })
    }
}
