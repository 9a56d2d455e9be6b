//! Debian's packages of another suite than this machine's: downloaded and unpacked, not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::host;

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of the archive, with lists of its own, so that the machine's stay what they are.
pub(crate) struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Fetches the lists of a suite into an empty folder.
    pub(crate) fn new(suite: &str, folder: &Path) -> Result<Self> {
        let lists = folder.join("state/lists/partial");
        fs::create_dir_all(&lists).with_context(|| format!("cannot make {}", lists.display()))?;
        let keys = if Path::new(KEYS).exists() { format!(" signed-by={KEYS}") } else { String::new() };
        let source = format!("deb [arch=amd64{keys}] {} {suite} main\n", host::archive()?);
        let file = folder.join("sources.list");
        fs::write(&file, source).with_context(|| format!("cannot write {}", file.display()))?;
        let suite = Self { folder: folder.to_owned() };
        host::run(suite.command("apt-get").arg("update"))?;
        Ok(suite)
    }

    /// The names of all packages that begin so, one on each line.
    pub(crate) fn names(&self, start: &str) -> Result<String> {
        host::output(self.command("apt-cache").args(["pkgnames", start]))
    }

    /// Downloads packages and unpacks them; returns the folder that is their root.
    pub(crate) fn unpack<'a>(&self, packages: impl IntoIterator<Item = &'a str>) -> Result<PathBuf> {
        host::run(self.command("apt-get").arg("download").args(packages).current_dir(&self.folder))?;
        let root = self.folder.join("root");
        let unreadable = || format!("cannot read {}", self.folder.display());
        for file in fs::read_dir(&self.folder).with_context(unreadable)? {
            let file = file.with_context(unreadable)?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                host::run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&root))?;
            }
        }
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
