//! Building: the eBPF object, then the agent that embeds it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{dist::Zig, host, toolchain::Toolchain};

const TARGET: &str = "bpfel-unknown-none";
/// The agent's, where it has to be named.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the object that the agent embeds: `target/bpf/m8refsvr.o`.
pub(crate) fn ebpf_object(log: bool) -> Result<()> {
    let object = build_bin("m8refsvr", log.then_some("log"), "m8refsvr.o")?;
    host::step(&format!("the eBPF object is {}", object.display()));
    Ok(())
}

/// Builds the object with log statements beside the one that the agent embeds, for the tests.
pub(crate) fn log_object() -> Result<PathBuf> {
    build_bin("m8refsvr", Some("log"), "m8refsvr-log.o")
}

/// Builds the programs that the bench puts beside ours: `target/bpf/reference.o`.
pub(crate) fn reference_object() -> Result<PathBuf> {
    build_bin("reference", Some("bench"), "reference.o")
}

/// Builds the eBPF object and the release agent; returns the agent's path.
pub(crate) fn agent() -> Result<PathBuf> {
    ebpf_object(false)?;
    host::step("building the agent");
    host::run(&mut host::cargo(&["build", "--release", "--package", "m8refsvr-agent"]))?;
    let agent = target_folder().join("release/m8refsvr-agent");
    host::step(&format!("the agent is {}", agent.display()));
    Ok(agent)
}

/// Builds the agent for this version of glibc and later ones; returns the agent's path.
pub(crate) fn agent_for_glibc(zig: &Zig, version: &str) -> Result<PathBuf> {
    ebpf_object(false)?;
    host::step(&format!("building the agent for glibc {version} and later"));
    let target = format!("{AGENT_TARGET}.{version}");
    host::run(
        Command::new(&zig.cargo_zigbuild)
            .current_dir(host::root())
            .args(["zigbuild", "--release", "--package", "m8refsvr-agent", "--target", &target])
            .env("CARGO_ZIGBUILD_ZIG_PATH", &zig.zig)
            // Of both programs' caches.
            .env("XDG_CACHE_HOME", &zig.cache)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS"),
    )?;
    Ok(target_folder().join(AGENT_TARGET).join("release/m8refsvr-agent"))
}

/// Where cargo puts what it builds for this machine.
pub(crate) fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| host::root().join("target"), PathBuf::from)
}

fn build_bin(bin: &str, feature: Option<&str>, object: &str) -> Result<PathBuf> {
    let root = host::root();
    let toolchain = Toolchain::find()?;
    let linker = toolchain.bpf_linker()?;
    host::step(&format!("building {object} with {}", toolchain.rustc.display()));

    let folder = root.join("target/bpf");
    let mut command = Command::new(&toolchain.cargo);
    command
        .current_dir(&root)
        .args(["build", "--quiet", "--package", "m8refsvr-ebpf", "--bin", bin, "--profile", "ebpf"])
        .args(["-Z", "build-std=core", "--target", TARGET])
        .arg("--target-dir")
        .arg(folder.join("build"))
        .args(feature.iter().flat_map(|feature| ["--features", feature]))
        .env("RUSTC", &toolchain.rustc)
        // build-std is open to nightly alone, but is what aya builds with on every toolchain.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&toolchain, &linker)?.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN");
    host::run(&mut command)?;

    // Without the debug sections a tenth of the size; `.BTF` and `.BTF.ext` stay.
    let built = folder.join("build").join(TARGET).join("ebpf").join(bin);
    let object = folder.join(object);
    let stripped = object.with_extension("new");
    host::run(
        Command::new(toolchain.llvm.tool("llvm-objcopy")).arg("--strip-debug").arg(&built).arg(&stripped),
    )?;
    replace_if_changed(&stripped, &object)?;
    Ok(object)
}

/// An object that did not change keeps its time, so that the agent is not built again.
fn replace_if_changed(new: &Path, old: &Path) -> Result<()> {
    let content = fs::read(new).with_context(|| format!("cannot read {}", new.display()))?;
    if fs::read(old).is_ok_and(|before| before == content) {
        return fs::remove_file(new).with_context(|| format!("cannot remove {}", new.display()));
    }
    fs::rename(new, old).with_context(|| format!("cannot write {}", old.display()))
}

/// The same object from every checkout: paths of this machine are mapped to fixed ones.
fn rustflags(toolchain: &Toolchain, linker: &Path) -> Result<Vec<String>> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok(vec![
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".into(),
        "-Cdebuginfo=2".into(),
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        remap(&host::cargo_home()?, "/cargo"),
        remap(&toolchain.sysroot, "/rust"),
        // The last that fits wins, and the others may lie within the checkout.
        remap(&host::root(), "/m8refsvr"),
    ])
}
