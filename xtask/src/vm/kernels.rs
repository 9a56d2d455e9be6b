//! Kernels that the machines run: Debian's own for clouds, from the suites that have them. They are unpacked below the
//! cache and stay there; a kernel that is there needs no archive.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{apt::Suite, host, keep};

/// The kernels, and the suites of Debian's archive that have them.
const SUITES: [(&str, &str); 4] =
    [("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "bookworm-backports"), ("7.2", "sid")];
/// What packages of a kernel for clouds end with. The kernel and its modules are in one package, or in several.
const FLAVOUR: &str = "-cloud-amd64";
const PACKAGES: [&str; 4] = ["linux-image-", "linux-base-", "linux-binary-", "linux-modules-"];

/// The kernels that [`get`] knows, the oldest first.
pub(crate) fn series() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(series, _)| *series)
}

/// A kernel, unpacked.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What qemu boots.
    pub(crate) image: PathBuf,
    /// The folder of its modules, which is named by its release.
    modules: PathBuf,
}

/// A module of a kernel, as `insmod` takes it.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its file's name, without a compression's ending.
    pub(crate) file: String,
    pub(crate) content: Vec<u8>,
}

/// The newest kernel of a series, from the cache or from the archive.
pub(crate) fn get(series: &str) -> Result<Kernel> {
    let Some((series, suite)) = SUITES.iter().find(|(known, _)| *known == series) else {
        let known: Vec<_> = self::series().collect();
        bail!("Linux {series} is not among the kernels for machines: {}", known.join(", "));
    };
    let home = host::cache()?.join("kernels").join(series);
    if !home.is_dir() {
        keep::make(&home, |scratch| download(series, suite, scratch))
            .with_context(|| format!("Linux {series} is not to be had"))?;
    }
    Kernel::find(&home)
}

/// Unpacks a kernel's packages below `scratch`; returns where.
fn download(series: &str, suite: &str, scratch: &Path) -> Result<PathBuf> {
    let archive = Suite::new(suite, scratch)?;
    let names = archive.names("linux-")?;
    let releases = |name: &str| {
        let release = PACKAGES.iter().find_map(|start| name.strip_prefix(start))?.strip_suffix(FLAVOUR)?;
        release.strip_prefix(series)?.starts_with('.').then(|| release.to_owned())
    };
    let newest = names
        .lines()
        .filter_map(releases)
        .max_by_key(|release| numbers(release))
        .with_context(|| format!("{suite} has none any more; name another in xtask/src/vm/kernels.rs"))?;
    archive.unpack(names.lines().filter(|name| releases(name).as_ref() == Some(&newest)))
}

/// The numbers in a kernel's release, by which releases of one suite are ordered.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

impl Kernel {
    /// Where the packages have put it, which differs from one to another.
    fn find(home: &Path) -> Result<Self> {
        let folders = ["lib/modules", "usr/lib/modules"].map(|folder| home.join(folder));
        let folder = folders.iter().find(|folder| folder.is_dir());
        let folder = folder.with_context(|| format!("no modules in {}: remove it", home.display()))?;
        let modules = entries(folder)?.pop().with_context(|| format!("{} is empty", folder.display()))?;
        let release = modules.file_name().unwrap_or_default().to_string_lossy();
        let images = [home.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
        let image = images.into_iter().find(|image| image.is_file());
        let image = image.with_context(|| format!("no kernel in {}: remove it", home.display()))?;
        Ok(Self { image, modules })
    }

    /// Modules and what they need, in the order in which they can be loaded. What is built in is left out.
    pub(crate) fn modules(&self, names: &[&str]) -> Result<Vec<Module>> {
        let mut files = Vec::new();
        list(&self.modules.join("kernel"), &mut files)?;
        let built_in = self.modules.join("modules.builtin");
        let built_in =
            fs::read_to_string(&built_in).with_context(|| format!("cannot read {}", built_in.display()))?;
        let mut modules = Vec::new();
        for name in names {
            self.add(name, &files, &built_in, &mut modules)?;
        }
        Ok(modules)
    }

    fn add(&self, name: &str, files: &[PathBuf], built_in: &str, modules: &mut Vec<Module>) -> Result<()> {
        let Some(path) = files.iter().find(|path| is_module(path, name)) else {
            if built_in.lines().any(|path| is_module(Path::new(path), name)) {
                return Ok(());
            }
            bail!("{} has no module {name}", self.modules.display());
        };
        let file = uncompressed(path);
        if modules.iter().any(|module| module.file == file) {
            return Ok(());
        }
        let content = content(path)?;
        for needed in needed(&content) {
            self.add(&needed, files, built_in, modules)?;
        }
        modules.push(Module { file, content });
        Ok(())
    }
}

/// The kernel writes `-` and `_` in names of modules as it likes.
fn is_module(path: &Path, name: &str) -> bool {
    let file = uncompressed(path);
    file.strip_suffix(".ko").is_some_and(|stem| stem.replace('-', "_") == name.replace('-', "_"))
}

fn uncompressed(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.strip_suffix(".xz").unwrap_or(&file).to_owned()
}

fn content(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    let output = Command::new("xz").arg("-dc").arg(path).output().context("cannot start xz")?;
    if !output.status.success() {
        bail!("xz cannot read {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// What a module needs, as its section `.modinfo` says: `depends=` and names separated by commas, between zeros.
fn needed(content: &[u8]) -> Vec<String> {
    let names = content.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(names.unwrap_or_default()).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// All files below a folder.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", folder.display());
    let entries = fs::read_dir(folder).with_context(cannot)?;
    entries.map(|entry| Ok(entry.with_context(cannot)?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        let ordered = ["5.10.0-9", "5.10.0-32", "6.12.90+deb12", "6.12.90+deb12.1", "6.12.95+deb12"];
        assert!(ordered.is_sorted_by_key(|release| numbers(release)));
    }

    #[test]
    fn what_a_module_needs_is_in_its_information() {
        assert_eq!(
            needed(b"\x7fELF\0license=GPL\0depends=virtio,virtio_ring\0name=x\0"),
            ["virtio", "virtio_ring"]
        );
        assert_eq!(needed(b"license=GPL\0depends=\0"), [""; 0]);
    }

    #[test]
    fn a_module_is_found_by_its_name_however_it_is_written() {
        assert!(is_module(Path::new("kernel/drivers/md/dm-mod.ko.xz"), "dm_mod"));
        assert!(!is_module(Path::new("kernel/drivers/md/dm-mod.ko"), "mod"));
    }
}
