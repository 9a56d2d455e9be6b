//! Builds the eBPF object, and the agent that embeds it.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command,
    deps::{toolchain::Toolchain, zig::Zig},
    files, paths, report,
};

const BPF_TARGET: &str = "bpfel-unknown-none";
/// The agent's target, for cargo-zigbuild, which needs its name.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the object that the agent embeds: `target/bpf/m8refsvr.o`.
pub(crate) fn ebpf_object(log: bool) -> Result<()> {
    let object = build_bin("m8refsvr", log.then_some("log"), "m8refsvr.o")?;
    report::step(&format!("the eBPF object is {}", object.display()));
    Ok(())
}

/// Builds the object with log statements, for the tests: `target/bpf/m8refsvr-log.o`.
pub(crate) fn log_object() -> Result<PathBuf> {
    build_bin("m8refsvr", Some("log"), "m8refsvr-log.o")
}

/// Builds the programs with which the bench compares ours: `target/bpf/reference.o`.
pub(crate) fn reference_object() -> Result<PathBuf> {
    build_bin("reference", Some("bench"), "reference.o")
}

/// Builds the eBPF object and the release agent; returns the agent's path.
pub(crate) fn agent() -> Result<PathBuf> {
    ebpf_object(false)?;
    report::step("building the agent");
    command::run(&mut command::cargo(&["build", "--release", "--package", "m8refsvr-agent"]))?;
    let agent = paths::target().join("release/m8refsvr-agent");
    report::step(&format!("the agent is {}", agent.display()));
    Ok(agent)
}

/// Builds the agent for this version of glibc and later ones; returns the agent's path.
pub(crate) fn agent_for_glibc(zig: &Zig, version: &str) -> Result<PathBuf> {
    ebpf_object(false)?;
    report::step(&format!("building the agent for glibc {version} and later"));
    let target = format!("{AGENT_TARGET}.{version}");
    command::run(
        Command::new(&zig.cargo_zigbuild)
            .current_dir(paths::root())
            .args(["zigbuild", "--release", "--package", "m8refsvr-agent", "--target", &target])
            .env("CARGO_ZIGBUILD_ZIG_PATH", &zig.zig)
            // Both programs put their caches there.
            .env("XDG_CACHE_HOME", &zig.cache)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS"),
    )?;
    Ok(paths::target().join(AGENT_TARGET).join("release/m8refsvr-agent"))
}

/// The executables that a `cargo test` or `cargo bench` builds, by the names of their targets.
pub(crate) fn executables(cargo: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    let messages = command::output(cargo.args(["--no-run", "--message-format", "json-render-diagnostics"]))?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    Ok(messages
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?;
            Some((name.to_owned(), message["executable"].as_str()?.into()))
        })
        .collect())
}

fn build_bin(bin: &str, feature: Option<&str>, object: &str) -> Result<PathBuf> {
    let root = paths::root();
    let toolchain = Toolchain::find()?;
    let linker = toolchain.bpf_linker()?;
    report::step(&format!("building {object} with {}", toolchain.rustc.display()));

    let folder = root.join("target/bpf");
    let mut command = Command::new(&toolchain.cargo);
    command
        .current_dir(&root)
        .args(["build", "--quiet", "--package", "m8refsvr-ebpf", "--bin", bin, "--profile", "ebpf"])
        .args(["-Z", "build-std=core", "--target", BPF_TARGET])
        .arg("--target-dir")
        .arg(folder.join("build"))
        .args(feature.iter().flat_map(|feature| ["--features", feature]))
        .env("RUSTC", &toolchain.rustc)
        // build-std is unstable. aya builds with it on stable toolchains in this way too.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&toolchain, &linker)?.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN");
    command::run(&mut command)?;

    // Without debug sections the object is a tenth of the size; `.BTF` and `.BTF.ext` stay.
    let built = folder.join("build").join(BPF_TARGET).join("ebpf").join(bin);
    let object = folder.join(object);
    let stripped = object.with_extension("new");
    command::run(
        Command::new(toolchain.llvm.tool("llvm-objcopy")).arg("--strip-debug").arg(&built).arg(&stripped),
    )?;
    replace_if_changed(&stripped, &object)?;
    Ok(object)
}

/// An unchanged object keeps its modification time, so that the agent is not built again.
fn replace_if_changed(new: &Path, old: &Path) -> Result<()> {
    let content = files::read(new)?;
    if fs::read(old).is_ok_and(|before| before == content) {
        return fs::remove_file(new).with_context(|| format!("cannot remove {}", new.display()));
    }
    fs::rename(new, old).with_context(|| format!("cannot write {}", old.display()))
}

/// Paths of this machine are mapped to fixed ones, so that every checkout builds the same object.
fn rustflags(toolchain: &Toolchain, linker: &Path) -> Result<Vec<String>> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok(vec![
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".into(),
        "-Cdebuginfo=2".into(),
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        remap(&paths::cargo_home()?, "/cargo"),
        remap(&toolchain.sysroot, "/rust"),
        // The last mapping that matches wins, and the others may lie within the checkout.
        remap(&paths::root(), "/m8refsvr"),
    ])
}
