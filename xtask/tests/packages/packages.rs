//! The packages to be tested, and the root folders of C libraries.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(Clone, Debug)]
pub(crate) struct Packages {
    /// The folder of the packages.
    pub(crate) dist: PathBuf,
    /// A folder with a root folder for each suite of Debian.
    pub(crate) roots: PathBuf,
}

impl Packages {
    /// The package whose file name has this ending.
    pub(crate) fn find(&self, ending: &str) -> PathBuf {
        let mut paths = fs::read_dir(&self.dist).unwrap().map(|entry| entry.unwrap().path());
        paths.find(|path| path.to_string_lossy().ends_with(ending)).unwrap()
    }

    /// Unpacks Debian's package into a folder.
    pub(crate) fn unpack(&self, folder: &Path) {
        let package = self.find(".deb");
        let status = Command::new("dpkg-deb").arg("--extract").arg(package).arg(folder).status().unwrap();
        assert!(status.success());
    }
}
