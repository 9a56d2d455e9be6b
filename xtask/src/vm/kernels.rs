//! The kernels of the virtual machines: Debian's cloud kernels of several suites. They are unpacked in the cache and
//! stay there, so that they are downloaded once.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    deps::{cache, suite::Suite},
    files, paths,
};

/// Each kernel and the suite of Debian's archive that has it, the oldest first.
const SUITES: [(&str, &str); 4] =
    [("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "bookworm-backports"), ("7.2", "sid")];
/// The end of the names of cloud kernels' packages. The kernel and its modules are in one package, or in several.
const FLAVOUR: &str = "-cloud-amd64";
const PACKAGES: [&str; 4] = ["linux-image-", "linux-base-", "linux-binary-", "linux-modules-"];

/// The kernels that [`get`] has, the oldest first.
pub(crate) fn series() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(series, _)| *series)
}

#[derive(Debug)]
pub(crate) struct Kernel {
    /// The file that qemu boots.
    pub(crate) image: PathBuf,
    /// The folder of the modules, whose name is the kernel's release.
    modules: PathBuf,
}

/// A kernel module as `insmod` takes it: uncompressed.
#[derive(Debug)]
pub(crate) struct Module {
    /// The name of the file, ending in `.ko`.
    pub(crate) file: String,
    pub(crate) content: Vec<u8>,
}

/// The newest kernel of a series, from the cache or from the archive.
pub(crate) fn get(series: &str) -> Result<Kernel> {
    let Some((series, suite)) = SUITES.iter().find(|(known, _)| *known == series) else {
        let known: Vec<_> = self::series().collect();
        bail!("there is no kernel {series}; the kernels are {}", known.join(", "));
    };
    let home = paths::cache()?.join("kernels").join(series);
    if !home.is_dir() {
        cache::make(&home, |scratch| download(series, suite, scratch))
            .with_context(|| format!("cannot get Linux {series}"))?;
    }
    Kernel::find(&home)
}

/// Unpacks the packages of a kernel below `scratch`. Returns the root folder of the unpacked files.
fn download(series: &str, suite: &str, scratch: &Path) -> Result<PathBuf> {
    let archive = Suite::new(suite, scratch)?;
    let names = archive.names("linux-")?;
    let releases = |name: &str| {
        let release = PACKAGES.iter().find_map(|start| name.strip_prefix(start))?.strip_suffix(FLAVOUR)?;
        release.strip_prefix(series)?.starts_with('.').then(|| release.to_owned())
    };
    let newest =
        names.lines().filter_map(releases).max_by_key(|release| numbers(release)).with_context(|| {
            format!("{suite} no longer has this kernel; change SUITES in xtask/src/vm/kernels.rs")
        })?;
    archive.unpack(names.lines().filter(|name| releases(name).as_ref() == Some(&newest)))
}

/// The numbers in a kernel's release, in whose order one release is newer than another.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

impl Kernel {
    /// Finds the kernel's files. Their folders differ between packages.
    fn find(home: &Path) -> Result<Self> {
        let folders = ["lib/modules", "usr/lib/modules"].map(|folder| home.join(folder));
        let folder = folders.iter().find(|folder| folder.is_dir());
        let folder = folder
            .with_context(|| format!("no modules in {}: remove it to download them again", home.display()))?;
        let modules =
            files::entries(folder)?.pop().with_context(|| format!("{} is empty", folder.display()))?;
        let release = files::name(&modules);
        let images = [home.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
        let image = images.into_iter().find(|image| image.is_file());
        let image = image
            .with_context(|| format!("no kernel in {}: remove it to download it again", home.display()))?;
        Ok(Self { image, modules })
    }

    /// Modules and their dependencies, in the order in which they can be loaded, without those that are built in.
    pub(crate) fn modules(&self, names: &[&str]) -> Result<Vec<Module>> {
        let files = files::files_below(&self.modules.join("kernel"))?;
        let built_in = files::read_text(&self.modules.join("modules.builtin"))?;
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
        for dependency in dependencies(&content) {
            self.add(&dependency, files, built_in, modules)?;
        }
        modules.push(Module { file, content });
        Ok(())
    }
}

/// Whether a file is the module with this name. The kernel uses `-` and `_` in names of modules interchangeably.
fn is_module(path: &Path, name: &str) -> bool {
    let file = uncompressed(path);
    file.strip_suffix(".ko").is_some_and(|stem| stem.replace('-', "_") == name.replace('-', "_"))
}

fn uncompressed(path: &Path) -> String {
    let file = files::name(path);
    file.strip_suffix(".xz").unwrap_or(&file).to_owned()
}

fn content(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return files::read(path);
    }
    let output = Command::new("xz").arg("-dc").arg(path).output().context("cannot start xz")?;
    if !output.status.success() {
        bail!("xz cannot read {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// The names of the modules on which a module depends, from its section `.modinfo`: `depends=` and a list with commas,
/// between zero bytes.
fn dependencies(content: &[u8]) -> Vec<String> {
    let names = content.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(names.unwrap_or_default()).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
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
            dependencies(b"\x7fELF\0license=GPL\0depends=virtio,virtio_ring\0name=x\0"),
            ["virtio", "virtio_ring"]
        );
        assert_eq!(dependencies(b"license=GPL\0depends=\0"), [""; 0]);
    }

    #[test]
    fn a_module_is_found_by_its_name_however_it_is_written() {
        assert!(is_module(Path::new("kernel/drivers/md/dm-mod.ko.xz"), "dm_mod"));
        assert!(!is_module(Path::new("kernel/drivers/md/dm-mod.ko"), "mod"));
    }
}
