//! The package for Debian, Ubuntu and their kin.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    Product, SETTINGS, VERSION,
    tree::{FILE, PROGRAM},
};
use crate::host;

pub(super) fn make(product: &Product, work: &Path) -> Result<PathBuf> {
    let tree = product.tree(work, "vendor-completions")?;
    tree.put(&host::root().join("LICENSE"), "usr/share/doc/m8refsvr-agent/copyright", FILE)?;

    let control = Product::packaging("debian/control");
    let control =
        fs::read_to_string(&control).with_context(|| format!("cannot read {}", control.display()))?;
    let control = control
        .replace("@VERSION@", VERSION)
        .replace("@GLIBC@", &product.glibc)
        .replace("@SIZE@", &kibibytes(tree.root())?.to_string());
    tree.write(control.as_bytes(), "DEBIAN/control", FILE)?;
    tree.write(format!("/{SETTINGS}\n").as_bytes(), "DEBIAN/conffiles", FILE)?;
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        tree.put(&Product::packaging("debian").join(script), &format!("DEBIAN/{script}"), PROGRAM)?;
    }
    tree.settle()?;
    let package = product.dist.join(format!("m8refsvr-agent_{VERSION}_amd64.deb"));
    // Not zstd, Ubuntu's default: Debian's dpkg reads it only since version 12.
    host::output(
        product
            .command("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Zxz"])
            .arg(tree.root())
            .arg(&package),
    )?;
    Ok(package)
}

/// How much space the files need.
fn kibibytes(path: &Path) -> Result<u64> {
    if !path.is_dir() {
        return Ok(path
            .metadata()
            .with_context(|| format!("cannot read {}", path.display()))?
            .len()
            .div_ceil(1024));
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    // A folder counts as one, as Debian's own tools count it.
    entries.map(|entry| kibibytes(&entry?.path())).try_fold(1, |sum, size| Ok(sum + size?))
}
