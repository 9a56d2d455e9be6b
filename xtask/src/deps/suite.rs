//! Packages of another suite of Debian than this machine's: downloaded and unpacked, not installed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::apt;
use crate::{command, files};

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of Debian's archive. Its package lists are in a folder of their own, so that the machine's stay unchanged.
pub(crate) struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Fetches the package lists of a suite into an empty folder.
    pub(crate) fn new(suite: &str, folder: &Path) -> Result<Self> {
        files::create_folder(&folder.join("state/lists/partial"))?;
        let keys = if Path::new(KEYS).exists() { format!(" signed-by={KEYS}") } else { String::new() };
        let source = format!("deb [arch=amd64{keys}] {} {suite} main\n", apt::archive()?);
        files::write(&folder.join("sources.list"), source)?;
        let suite = Self { folder: folder.to_owned() };
        command::run(suite.command("apt-get").arg("update"))?;
        Ok(suite)
    }

    /// The names of all packages with this prefix, one to a line.
    pub(crate) fn names(&self, prefix: &str) -> Result<String> {
        command::output(self.command("apt-cache").args(["pkgnames", prefix]))
    }

    /// Downloads and unpacks packages. Returns the root folder of the unpacked files.
    pub(crate) fn unpack<'a>(&self, packages: impl IntoIterator<Item = &'a str>) -> Result<PathBuf> {
        command::run(self.command("apt-get").arg("download").args(packages).current_dir(&self.folder))?;
        let root = self.folder.join("root");
        apt::extract(&self.folder, &root)?;
        Ok(root)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let option = |name: &str, path: &str| format!("{name}={}/{path}", self.folder.display());
        command
            .args(["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "APT::Sandbox::User=root"])
            .args(["-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::State::status=/dev/null"])
            .args(["-o", &option("Dir::Etc::sourcelist", "sources.list")])
            .args(["-o", &option("Dir::State", "state"), "-o", &option("Dir::Cache", "cache")]);
        command
    }
}
