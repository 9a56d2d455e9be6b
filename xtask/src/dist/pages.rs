//! Man pages and completions: the agent's example `pages` writes them from the definition of its command line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::tree::{FILE, Tree};
use crate::host;

/// Makes them all in one folder.
pub(super) fn make(folder: &Path) -> Result<PathBuf> {
    super::empty(folder)?;
    host::step("writing the man pages and completions");
    host::run(
        host::cargo(&["run", "--quiet", "--package", "m8refsvr-agent", "--example", "pages", "--"])
            .arg(folder),
    )?;
    Ok(folder.into())
}

/// The man pages, by name.
pub(super) fn manuals(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut manuals = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".1") {
            manuals.push((name, path));
        }
    }
    manuals.sort();
    Ok(manuals)
}

/// Puts man pages and completions where a distribution has them; zsh's folder is not the same in all.
pub(super) fn install(folder: &Path, tree: &Tree, zsh: &str) -> Result<()> {
    for (name, path) in manuals(folder)? {
        tree.put_compressed(&path, &format!("usr/share/man/man1/{name}"))?;
    }
    let completions = [
        ("m8refsvr-agent.bash", "usr/share/bash-completion/completions/m8refsvr-agent"),
        ("_m8refsvr-agent", &format!("usr/share/zsh/{zsh}/_m8refsvr-agent")),
        ("m8refsvr-agent.fish", "usr/share/fish/vendor_completions.d/m8refsvr-agent.fish"),
    ];
    completions.iter().try_for_each(|(name, path)| tree.put(&folder.join(name), path, FILE))
}
