//! What builds the eBPF object: a rustc that has the sources of its own `core`, and a bpf-linker made with an
//! LLVM that is not older than that rustc's. An older one ends in "Invalid record" or in broken BTF, so the
//! majors are compared before anything is built.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{host, tools};

const BPF_LINKER_VERSION: &str = "0.13.0";
/// The LLVM majors that this version of bpf-linker has a feature for.
const BPF_LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;
/// Debian's rustc for the web engines: newer than the distribution's own, and with sources.
const DEBIAN_RUST: [&str; 3] = ["rustc-web", "rust-web-src", "cargo-web"];
/// The LLVM that belongs to it, as long as it is not there to be asked.
const DEBIAN_LLVM_MAJOR: u32 = 22;

/// A Rust toolchain that can build `core` for the kernel's virtual machine.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) sysroot: PathBuf,
    pub(crate) llvm: Llvm,
}

/// An LLVM with its headers.
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

    /// One of its programs.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.prefix.join("bin").join(name)
    }
}

impl Toolchain {
    /// The first complete toolchain: of rustup's, then Debian's, which is installed if need be.
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
        host::install(&[&DEBIAN_RUST[..], &[llvm.as_str()]].concat()).context(
            "the eBPF object needs a rustc with sources and its LLVM: `rustup component add rust-src` beside \
             LLVM's development files, or Debian's packages",
        )?;
        Self::complete(rustc, cargo)?
            .context("Debian's rustc has no sources or no LLVM of its own age or newer")
    }

    /// `None` where the sources or a fitting LLVM are missing.
    fn complete(rustc: PathBuf, cargo: PathBuf) -> Result<Option<Self>> {
        let Some(major) = llvm_major(&rustc) else { return Ok(None) };
        let sysroot = host::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim_end());
        if !sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() || !cargo.is_file() {
            return Ok(None);
        }
        if major > *BPF_LINKER_LLVM.end() {
            host::step(&format!(
                "passing over {}: its LLVM {major} is newer than bpf-linker {BPF_LINKER_VERSION} can link",
                rustc.display()
            ));
            return Ok(None);
        }
        Ok(Llvm::at_least(major).map(|llvm| Self { rustc, cargo, sysroot, llvm }))
    }

    /// The linker, built once into the cache.
    pub(crate) fn bpf_linker(&self) -> Result<PathBuf> {
        let llvm = format!("llvm-{}", self.llvm.major);
        let folder = format!("bpf-linker-{BPF_LINKER_VERSION}-{llvm}");
        tools::built("bpf-linker", BPF_LINKER_VERSION, &folder, |command| {
            command.args(["--no-default-features", "--features", &llvm]).env("LLVM_PREFIX", &self.llvm.prefix)
        })
    }
}

/// rustc and cargo of each of rustup's toolchains, the active one first, then by name.
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

/// The major version of the LLVM in a rustc.
fn llvm_major(rustc: &Path) -> Option<u32> {
    let output = Command::new(rustc).arg("-vV").stderr(Stdio::null()).output().ok()?;
    let output = String::from_utf8_lossy(&output.stdout);
    let version = output.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}
