//! What the dependencies are: their licences, where they come from, whether one is there twice, and what is known to be
//! wrong with them. `deny.toml` says what may be.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::Result;

use crate::{host, tools};

const CARGO_DENY_VERSION: &str = "0.20.2";

/// Checks them. What could not be checked on this machine is returned, with the reason.
pub(crate) fn check() -> Result<Option<String>> {
    let folder = format!("cargo-deny-{CARGO_DENY_VERSION}");
    let program = tools::built("cargo-deny", CARGO_DENY_VERSION, &folder, |command| command)?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(host::root()).args(["--locked", "--log-level", "warn"]).args(arguments);
        command
    };
    host::step("checking licences, duplicates and sources of the dependencies");
    host::run(&mut deny(&["check", "licenses", "bans", "sources"]))?;
    let is_fetched = deny(&["fetch", "db"]).stderr(Stdio::null()).status().is_ok_and(|it| it.success());
    if !is_fetched && !has_database()? {
        return Ok(Some(
            "advisories on the dependencies: the RustSec database is a git repository on GitHub, which can't be \
             reached, and was never fetched here"
                .into(),
        ));
    }
    host::step("checking advisories on the dependencies");
    host::run(&mut deny(&["--offline", "check", "advisories"]))?;
    Ok(None)
}

/// Whether the database of advisories was fetched before; cargo-deny says by itself when it is too old.
fn has_database() -> Result<bool> {
    let folders = fs::read_dir(host::cargo_home()?.join("advisory-dbs"));
    Ok(folders.is_ok_and(|folders| folders.flatten().any(|folder| folder.path().join(".git").exists())))
}
