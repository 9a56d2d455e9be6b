//! Finds the toolchain of the eBPF object: a rustc with the sources of its own `core`, and a bpf-linker built with an
//! LLVM that is not older than that of rustc. An older one fails with "Invalid record" or writes broken BTF, so the
//! major versions are compared before anything is built.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{apt, cargo_tools};
use crate::{command, report};

const BPF_LINKER_VERSION: &str = "0.13.0";
/// The major versions of LLVM for which this bpf-linker has a feature.
const BPF_LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;
/// Debian's rustc for web engines: newer than the package `rustc`, and with sources.
const DEBIAN_RUST: [&str; 3] = ["rustc-web", "rust-web-src", "cargo-web"];
/// The LLVM of that rustc, which can't be asked before it is installed.
const DEBIAN_LLVM_MAJOR: u32 = 22;

/// A Rust toolchain that can build `core` for the target of BPF.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) sysroot: PathBuf,
    pub(crate) llvm: Llvm,
}

/// An LLVM with its development files.
#[derive(Debug)]
pub(crate) struct Llvm {
    major: u32,
    prefix: PathBuf,
}

impl Llvm {
    /// The first LLVM that bpf-linker can use and that is not older than `major`.
    fn at_least(major: u32) -> Option<Self> {
        (major.max(*BPF_LINKER_LLVM.start())..=*BPF_LINKER_LLVM.end())
            .map(|major| Self { major, prefix: PathBuf::from(format!("/usr/lib/llvm-{major}")) })
            .find(|llvm| llvm.tool("llvm-config").is_file())
    }

    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.prefix.join("bin").join(name)
    }
}

impl Toolchain {
    /// The first complete toolchain: of rustup, else of Debian, which is installed if it is missing.
    pub(crate) fn find() -> Result<Self> {
        for (rustc, cargo) in rustup_toolchains() {
            if let Some(toolchain) = Self::complete(rustc, cargo)? {
                return Ok(toolchain);
            }
        }
        let (rustc, cargo) = (PathBuf::from("/usr/bin/rustc"), PathBuf::from("/usr/bin/cargo"));
        if let Some(toolchain) = Self::complete(rustc.clone(), cargo.clone())? {
            return Ok(toolchain);
        }
        let major = llvm_major(&rustc).unwrap_or(DEBIAN_LLVM_MAJOR);
        let llvm = format!("llvm-{major}-dev");
        apt::install(&[&DEBIAN_RUST[..], &[llvm.as_str()]].concat()).context(
            "the eBPF object needs a rustc with sources, and its LLVM: run `rustup component add rust-src` and install \
             LLVM's development files, or install Debian's packages",
        )?;
        Self::complete(rustc, cargo)?
            .context("Debian's rustc has no sources, or there is no LLVM of its version or newer")
    }

    /// `None` if the sources or a suitable LLVM are missing.
    fn complete(rustc: PathBuf, cargo: PathBuf) -> Result<Option<Self>> {
        let Some(major) = llvm_major(&rustc) else { return Ok(None) };
        let sysroot = command::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim_end());
        if !sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() || !cargo.is_file() {
            return Ok(None);
        }
        if major > *BPF_LINKER_LLVM.end() {
            report::step(&format!(
                "skipping {}: its LLVM {major} is newer than bpf-linker {BPF_LINKER_VERSION} can link",
                rustc.display()
            ));
            return Ok(None);
        }
        Ok(Llvm::at_least(major).map(|llvm| Self { rustc, cargo, sysroot, llvm }))
    }

    /// bpf-linker for this LLVM, built once into the cache.
    pub(crate) fn bpf_linker(&self) -> Result<PathBuf> {
        let llvm = format!("llvm-{}", self.llvm.major);
        let folder = format!("bpf-linker-{BPF_LINKER_VERSION}-{llvm}");
        cargo_tools::install_into(&folder, "bpf-linker", BPF_LINKER_VERSION, |command| {
            command.args(["--no-default-features", "--features", &llvm]).env("LLVM_PREFIX", &self.llvm.prefix)
        })
    }
}

/// rustc and cargo of each toolchain of rustup, the active one first, the others by name.
fn rustup_toolchains() -> Vec<(PathBuf, PathBuf)> {
    let Ok(list) = Command::new("rustup").args(["toolchain", "list"]).stderr(Stdio::null()).output() else {
        return Vec::new();
    };
    let list = String::from_utf8_lossy(&list.stdout);
    let mut lines: Vec<&str> = list.lines().collect();
    lines.sort_by_key(|line| !line.contains("active"));
    lines
        .into_iter()
        .filter_map(|line| line.split_whitespace().next())
        .filter_map(|name| Some((rustup_which(name, "rustc")?, rustup_which(name, "cargo")?)))
        .collect()
}

fn rustup_which(toolchain: &str, program: &str) -> Option<PathBuf> {
    let output = Command::new("rustup")
        .args(["which", "--toolchain", toolchain, program])
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
}

/// The major version of a rustc's LLVM.
fn llvm_major(rustc: &Path) -> Option<u32> {
    let output = Command::new(rustc).arg("-vV").stderr(Stdio::null()).output().ok()?;
    let output = String::from_utf8_lossy(&output.stdout);
    let version = output.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}
