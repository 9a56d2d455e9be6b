//! What every package has: the program, its unit and settings, man pages, completions and documents.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::Result;

use super::{
    documents, pages,
    tree::{FILE, PROGRAM, Tree},
};
use crate::paths;

/// The settings file. Package managers keep it in an upgrade if it was edited.
pub(super) const SETTINGS: &str = "etc/m8refsvr/agent.env";
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug)]
pub(super) struct Product {
    /// The agent's program.
    pub(super) agent: PathBuf,
    /// The oldest version of glibc with which the program runs, such as `2.17`.
    pub(super) glibc: String,
    /// The folder with man pages and completions.
    pub(super) pages: PathBuf,
    /// The modification time of all files, in seconds since 1970.
    pub(super) epoch: u64,
    /// The folder of the packages.
    pub(super) dist: PathBuf,
}

impl Product {
    /// A tree with the files that every distribution has in the same place. Only zsh's folder differs.
    pub(super) fn tree(&self, root: &Path, zsh: &str) -> Result<Tree> {
        let tree = Tree::new(root, self.time())?;
        tree.put(&self.agent, "usr/bin/m8refsvr-agent", PROGRAM)?;
        let unit = "m8refsvr-agent.service";
        tree.put(&paths::packaging(unit), &format!("usr/lib/systemd/system/{unit}"), FILE)?;
        // Headers of requests may be secret.
        tree.put(&paths::packaging("agent.env"), SETTINGS, 0o600)?;
        pages::install(&self.pages, &tree, zsh)?;
        documents::install(&tree, "usr/share/doc/m8refsvr-agent/")?;
        Ok(tree)
    }

    pub(super) fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.epoch)
    }

    /// A command that writes this modification time into archives, and English messages.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("LC_ALL", "C");
        command
    }
}
