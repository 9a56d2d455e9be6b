//! Debian's programs that run in the virtual machines: those that this host lacks are unpacked in the cache, as the
//! installation of some would start services.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::deps::unpacked;

const PACKAGES: [&str; 5] = ["busybox-static", "dmsetup", "lvm2", "mdadm", "strace"];

pub(crate) struct GuestTools {
    /// The root folder of the unpacked packages.
    pub(crate) root: PathBuf,
}

impl GuestTools {
    pub(crate) fn get() -> Result<Self> {
        Ok(Self { root: unpacked::packages("guest-tools", &PACKAGES)? })
    }

    /// The path of a program, in the packages or on this host.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let roots = [&self.root, Path::new("/")];
        let folders = ["bin", "sbin", "usr/bin", "usr/sbin"];
        let mut paths = roots.iter().flat_map(|root| folders.map(|folder| root.join(folder).join(name)));
        paths.find(|path| path.is_file()).with_context(|| {
            let root = self.root.display();
            format!("there is no program {name} in {root} nor on this host: remove {root} to unpack it again")
        })
    }
}
