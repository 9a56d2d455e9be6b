//! Man pages and completions, which the agent's example `pages` writes from the definition of its command line.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::tree::{FILE, Tree};
use crate::{command, files, report};

/// The files with the completions.
pub(super) const BASH: &str = "m8refsvr-agent.bash";
pub(super) const ZSH: &str = "_m8refsvr-agent";
pub(super) const FISH: &str = "m8refsvr-agent.fish";

/// Writes all of them into one folder.
pub(super) fn make(folder: &Path) -> Result<PathBuf> {
    files::create_empty_folder(folder)?;
    report::step("writing the man pages and completions");
    command::run(
        command::cargo(&["run", "--quiet", "--package", "m8refsvr-agent", "--example", "pages", "--"])
            .arg(folder),
    )?;
    Ok(folder.into())
}

/// The man pages, sorted by name.
pub(super) fn manuals(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut manuals = files::entries(folder)?;
    manuals.retain(|path| path.extension().is_some_and(|extension| extension == "1"));
    manuals.sort();
    Ok(manuals)
}

/// Puts man pages and completions into a distribution's folders. zsh's folder differs from one to another.
pub(super) fn install(folder: &Path, tree: &Tree, zsh: &str) -> Result<()> {
    for page in manuals(folder)? {
        tree.put_compressed(&page, &format!("usr/share/man/man1/{}", files::name(&page)))?;
    }
    let completions = [
        (BASH, "usr/share/bash-completion/completions/m8refsvr-agent"),
        (ZSH, &format!("usr/share/zsh/{zsh}/{ZSH}")),
        (FISH, &format!("usr/share/fish/vendor_completions.d/{FISH}")),
    ];
    completions.iter().try_for_each(|(name, path)| tree.put(&folder.join(name), path, FILE))
}
