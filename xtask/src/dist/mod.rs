//! `cargo xtask dist`: what users install, in `target/dist`. All times are that of the last commit and all owners are
//! root, so that the same sources and tools give the same bytes.

mod deb;
mod documents;
mod elf;
mod pages;
mod roots;
mod rpm;
mod tarball;
mod tree;
mod zig;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
pub(crate) use roots::roots;
use tree::{FILE, PROGRAM, Tree};
pub(crate) use zig::Zig;

use crate::{build, host};

/// What the packages are made with, and Debian's packages of these programs.
const TOOLS: [(&str, &str); 3] = [("readelf", "binutils"), ("dpkg-deb", "dpkg"), ("rpmbuild", "rpm")];
/// What an upgrade keeps when it has been edited.
const SETTINGS: &str = "etc/m8refsvr/agent.env";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What goes into every form of the product.
#[derive(Debug)]
struct Product {
    /// The program.
    agent: PathBuf,
    /// The oldest version of the C library that it runs with, such as `2.17`.
    glibc: String,
    /// A folder with man pages and completions.
    pages: PathBuf,
    /// The time of all files, in seconds since 1970.
    epoch: u64,
    /// Where the results go.
    dist: PathBuf,
}

impl Product {
    /// A file of the checkout's `packaging`.
    fn packaging(name: &str) -> PathBuf {
        host::root().join("packaging").join(name)
    }

    /// A tree with what every distribution has in the same place; zsh's completions have two.
    fn tree(&self, root: &Path, zsh: &str) -> Result<Tree> {
        let tree = Tree::new(root, self.time())?;
        tree.put(&self.agent, "usr/bin/m8refsvr-agent", PROGRAM)?;
        let unit = "m8refsvr-agent.service";
        tree.put(&Self::packaging(unit), &format!("usr/lib/systemd/system/{unit}"), FILE)?;
        // Headers of requests may be secret.
        tree.put(&Self::packaging("agent.env"), SETTINGS, 0o600)?;
        pages::install(&self.pages, &tree, zsh)?;
        documents::install(&tree, "usr/share/doc/m8refsvr-agent/")?;
        Ok(tree)
    }

    fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.epoch)
    }

    /// A command that stamps what it writes with our time, and speaks English.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("LC_ALL", "C");
        command
    }
}

/// Makes them all; returns the folder that they are in.
pub(crate) fn dist() -> Result<PathBuf> {
    if !host::has_program("apt-get") {
        bail!(
            "packages are made on a Debian, or in a container with one: what that takes comes from its packages"
        );
    }
    let needs: Vec<_> = TOOLS
        .into_iter()
        .filter_map(|(program, package)| (!host::has_program(program)).then_some(package))
        .collect();
    host::install(&needs)?;
    let agent = build::agent_for_glibc(&zig::Zig::get()?, elf::GLIBC)?;
    let glibc = elf::check(&agent)?;
    let dist = build::target_folder().join("dist");
    empty(&dist)?;
    let work = dist.join("work");
    let pages = pages::make(&work.join("pages"))?;
    let product = Product { agent, glibc, pages, epoch: epoch()?, dist };
    let made = [
        tarball::make(&product, &work.join("tarball"))?,
        deb::make(&product, &work.join("deb"))?,
        rpm::make(&product, &work.join("rpm"))?,
    ];
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    for file in made {
        host::step(&format!("made {}", file.display()));
    }
    Ok(product.dist)
}

/// The time of the last commit, or what SOURCE_DATE_EPOCH says.
fn epoch() -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let mut git = Command::new("git");
            // The checkout may belong to another user than the one who packages it.
            git.args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"]).current_dir(host::root());
            host::output(&mut git)
                .context("without a git checkout, SOURCE_DATE_EPOCH must say the time of the files")?
        }
    };
    text.trim().parse().with_context(|| format!("the time of the files must be seconds, not {text:?}"))
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}
