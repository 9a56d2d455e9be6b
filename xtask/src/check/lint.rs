//! Formats and lints: rustfmt, clippy, and shellcheck over the shell scripts.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{command, deps::apt, files, paths, report};

pub(crate) fn format() -> Result<()> {
    report::step("checking the format");
    command::run(&mut command::cargo(&["fmt", "--all", "--check"]))
}

/// clippy over all crates. The agent embeds the eBPF object, which has to be built before.
pub(crate) fn clippy() -> Result<()> {
    let clippy = |what: &str, arguments: &[&str]| {
        report::step(&format!("linting {what}"));
        let mut clippy = command::cargo(&["clippy", "--quiet"]);
        command::run(clippy.args(arguments).args(["--", "-D", "warnings"]))
    };
    clippy("the agent", &["--all-targets"])?;
    clippy(
        "the agent without the feature ebpf",
        &["--package", "m8refsvr-agent", "--no-default-features", "--all-targets"],
    )?;
    // In a command of its own: together with the others its features would be unified with theirs, and there would be
    // two panic handlers.
    clippy(
        "the eBPF crate",
        &["--package", "m8refsvr-ebpf", "--profile", "ebpf", "--bins", "--features", "bench,log"],
    )
}

/// shellcheck over all shell scripts of the checkout.
pub(crate) fn shell_scripts() -> Result<()> {
    apt::install(&["shellcheck"])?;
    report::step("linting the shell scripts");
    let mut scripts = Vec::new();
    find_scripts(&paths::root(), &mut scripts)?;
    scripts.sort();
    command::run(Command::new("shellcheck").args(["--external-sources", "--check-sourced"]).args(scripts))
}

/// Adds every shell script below `folder`.
fn find_scripts(folder: &Path, scripts: &mut Vec<PathBuf>) -> Result<()> {
    for path in files::entries(folder)? {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if path.file_name() != Some(OsStr::new(".git")) && path != paths::target() {
                find_scripts(&path, scripts)?;
            }
        } else if path.is_file() && is_shell_script(&path)? {
            scripts.push(path);
        }
    }
    Ok(())
}

/// Whether the first line of a file names a shell that shellcheck knows.
fn is_shell_script(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let cannot = || format!("cannot read {}", path.display());
    File::open(path).with_context(cannot)?.take(32).read_to_end(&mut start).with_context(cannot)?;
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok(line.starts_with(b"#!") && (line.ends_with(b"/sh") || line.ends_with(b"bash")))
}
