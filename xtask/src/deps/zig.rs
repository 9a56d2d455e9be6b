//! Links the program against an old C library, whatever library this machine has: by cargo-zigbuild and zig, which
//! knows the symbols of every version of glibc. Both come from PyPI and stay in the cache.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::pip;
use crate::paths;

const ZIGBUILD_VERSION: &str = "0.24.1";
const ZIG_VERSION: &str = "0.17.1";

#[derive(Debug)]
pub(crate) struct Zig {
    /// cargo-zigbuild, a cargo that links by zig.
    pub(crate) cargo_zigbuild: PathBuf,
    /// zig: a C compiler, a linker and the symbols of the C libraries.
    pub(crate) zig: PathBuf,
    /// The cache folder of both programs.
    pub(crate) cache: PathBuf,
}

impl Zig {
    /// Installs both programs, unless the cache has them.
    pub(crate) fn install() -> Result<Self> {
        let cache = paths::cache()?;
        let folder = cache.join(format!("zig-{ZIG_VERSION}-zigbuild-{ZIGBUILD_VERSION}"));
        if !folder.is_dir() {
            let packages = [format!("cargo-zigbuild=={ZIGBUILD_VERSION}"), format!("ziglang=={ZIG_VERSION}")];
            pip::install(&folder, &packages, &["--no-deps"]).context(
                "pip could not install zig, which links the program against an old C library: it needs access to PyPI",
            )?;
        }
        Ok(Self {
            cargo_zigbuild: folder.join("bin/cargo-zigbuild"),
            zig: folder.join("ziglang/zig"),
            cache: cache.join("zig"),
        })
    }
}
