//! The package for Debian, Ubuntu and derived distributions.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{
    product::{Product, SETTINGS, VERSION},
    tree::{FILE, PROGRAM},
};
use crate::{command, files, paths};

pub(super) fn make(product: &Product, work: &Path) -> Result<PathBuf> {
    let tree = product.tree(work, "vendor-completions")?;
    tree.put(&paths::root().join("LICENSE"), "usr/share/doc/m8refsvr-agent/copyright", FILE)?;

    let packaging = paths::packaging("debian");
    let control = files::read_text(&packaging.join("control"))?
        .replace("@VERSION@", VERSION)
        .replace("@GLIBC@", &product.glibc)
        .replace("@SIZE@", &kibibytes(tree.root())?.to_string());
    tree.write(control.as_bytes(), "DEBIAN/control", FILE)?;
    tree.write(format!("/{SETTINGS}\n").as_bytes(), "DEBIAN/conffiles", FILE)?;
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        tree.put(&packaging.join(script), &format!("DEBIAN/{script}"), PROGRAM)?;
    }
    tree.finish()?;
    let package = product.dist.join(format!("m8refsvr-agent_{VERSION}_amd64.deb"));
    // Not zstd, which is Ubuntu's default: Debian's dpkg reads it only since version 12.
    command::output(
        product
            .command("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Zxz"])
            .arg(tree.root())
            .arg(&package),
    )?;
    Ok(package)
}

/// The installed size as Debian's tools count it: files in whole KiB, and 1 KiB for each folder.
fn kibibytes(path: &Path) -> Result<u64> {
    if path.is_dir() {
        return files::entries(path)?
            .iter()
            .map(|entry| kibibytes(entry))
            .try_fold(1, |sum, size| Ok(sum + size?));
    }
    let metadata = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(metadata.len().div_ceil(1024))
}
