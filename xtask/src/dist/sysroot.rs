//! The C library that goes out is linked with: Debian 11's, whose kernel is the oldest that the agent is made for. One
//! that is linked with a newer library may not start there. It is unpacked below the cache and stays there.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{apt::Suite, host, keep};

const SUITE: &str = "bullseye";
const PACKAGES: [&str; 4] = ["libc6", "libc6-dev", "libgcc-s1", "linux-libc-dev"];

/// The folder that is to be the compiler's and the linker's root.
pub(super) fn get() -> Result<PathBuf> {
    let folder = host::cache()?.join(format!("glibc-{SUITE}"));
    if !folder.is_dir() {
        keep::make(&folder, |scratch| {
            let root = Suite::new(SUITE, scratch)?.unpack(PACKAGES)?;
            bend_links(&root, Path::new(""))?;
            Ok(root)
        })
        .with_context(|| format!("the C library of Debian's {SUITE} is not to be had"))?;
    }
    Ok(folder)
}

/// Has links that lead to a path from `/` lead to the same below `root`, or they would lead to this machine's files.
fn bend_links(root: &Path, folder: &Path) -> Result<()> {
    let full = root.join(folder);
    let cannot = || format!("cannot read {}", full.display());
    for entry in fs::read_dir(&full).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let kind = entry.file_type().with_context(cannot)?;
        if kind.is_dir() {
            bend_links(root, &folder.join(entry.file_name()))?;
        } else if kind.is_symlink() {
            let path = entry.path();
            let target = fs::read_link(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if let Ok(target) = target.strip_prefix("/") {
                let up: PathBuf = folder.iter().map(|_| "..").collect();
                fs::remove_file(&path)
                    .and_then(|()| symlink(up.join(target), &path))
                    .with_context(|| format!("cannot change {}", path.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_files_below_the_root() {
        let root = tempfile::TempDir::new().unwrap();
        let folder = root.path().join("usr/lib");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(root.path().join("lib")).unwrap();
        fs::write(root.path().join("lib/libdl.so.2"), "ours").unwrap();
        symlink("/lib/libdl.so.2", folder.join("libdl.so")).unwrap();
        symlink("libdl.so", folder.join("relative")).unwrap();
        bend_links(root.path(), Path::new("")).unwrap();
        assert_eq!(fs::read_link(folder.join("libdl.so")).unwrap(), Path::new("../../lib/libdl.so.2"));
        assert_eq!(fs::read_to_string(folder.join("relative")).unwrap(), "ours");
    }
}
