//! Building: the eBPF object, then the agent that embeds it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{host, toolchain::Toolchain};

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

/// Builds the agent with the C library below `sysroot` instead of this machine's; returns the agent's path.
pub(crate) fn agent_with(sysroot: &Path) -> Result<PathBuf> {
    ebpf_object(false)?;
    host::step(&format!("building the agent with the C library of {}", sysroot.display()));
    let [objects, libraries] =
        ["usr/lib", "lib"].map(|folder| sysroot.join(folder).join("x86_64-linux-gnu").display().to_string());
    let root = format!("--sysroot={}", sysroot.display());
    // The compiler's own folders, from which it comes to this machine's, would be before those of the root. The linker is
    // Rust's own, lld: functions that are the same to the byte are there once.
    let (objects, libraries) = ([format!("-B{objects}"), format!("-L{objects}")], format!("-L{libraries}"));
    let flags = [&root, &objects[0], &objects[1], &libraries, "-Wl,--icf=all"];
    let flags = flags.map(|flag| format!("-Clink-arg={flag}"));
    host::run(
        host::cargo(&["build", "--release", "--package", "m8refsvr-agent", "--target", AGENT_TARGET])
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env(format!("CFLAGS_{}", AGENT_TARGET.replace('-', "_")), root)
            .env_remove("RUSTFLAGS"),
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
