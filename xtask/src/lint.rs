//! Lints of what is not Rust: shell scripts, and the units of systemd.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{build, host};

/// The most that `systemd-analyze security` may say about the service, in tenths.
const EXPOSURE: u32 = 20;

/// shellcheck over all shell scripts, and what systemd says about the units.
pub(crate) fn all() -> Result<()> {
    host::install(&["shellcheck", "systemd"])?;
    host::step("linting the shell scripts");
    let mut scripts = Vec::new();
    find_scripts(&host::root(), &mut scripts)?;
    scripts.sort();
    host::run(Command::new("shellcheck").args(["--external-sources", "--check-sourced"]).args(scripts))?;
    host::step("checking the units of systemd");
    units()
}

/// Every file below `folder` that begins as a shell script does.
fn find_scripts(folder: &Path, scripts: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(unreadable)?);
        if kind.is_dir() {
            if entry.file_name() != ".git" && path != build::target_folder() {
                find_scripts(&path, scripts)?;
            }
        } else if kind.is_file() && is_script(&path)? {
            scripts.push(path);
        }
    }
    Ok(())
}

fn is_script(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.take(32).read_to_end(&mut start).with_context(|| format!("cannot read {}", path.display()))?;
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok(line.starts_with(b"#!") && (line.ends_with(b"/sh") || line.ends_with(b"bash")))
}

fn units() -> Result<()> {
    // Copies that name a program that is there: systemd looks for it.
    let folder = build::target_folder().join("units");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let copy = |name: &str, program: &str| -> Result<PathBuf> {
        let unit = host::root().join("packaging").join(name);
        let text = fs::read_to_string(&unit).with_context(|| format!("cannot read {}", unit.display()))?;
        let copy = folder.join(name);
        let changed = text.replace(program, "/bin/true").replace("@DIR@", "/opt");
        fs::write(&copy, changed).with_context(|| format!("cannot write {}", copy.display()))?;
        Ok(copy)
    };
    let verify = |unit: &Path, manager: &str| {
        host::run(
            Command::new("systemd-analyze")
                .args(["verify", manager, "--man=no", "--recursive-errors=no"])
                .arg(unit)
                .env("XDG_RUNTIME_DIR", &folder),
        )
    };
    let service = copy("m8refsvr-agent.service", "/usr/bin/m8refsvr-agent")?;
    verify(&service, "--system")?;
    verify(&copy("m8refsvr-agent.user.service", "@DIR@/m8refsvr-agent")?, "--user")?;

    let rating = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE}")])
        .arg(&service)
        .output()
        .context("cannot start systemd-analyze")?;
    if !rating.status.success() {
        let said = String::from_utf8_lossy(&rating.stdout);
        let weak: Vec<&str> = said.lines().filter(|line| !line.starts_with('✓')).collect();
        bail!("the service is rated worse than {}.{}:\n{}", EXPOSURE / 10, EXPOSURE % 10, weak.join("\n"));
    }
    Ok(())
}
