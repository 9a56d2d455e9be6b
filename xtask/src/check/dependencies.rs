//! Checks the dependencies with cargo-deny: licences, sources, duplicates and security advisories. `deny.toml` has the
//! rules.

use std::process::Command;

use anyhow::Result;

use crate::{command, deps::cargo_tools, files, paths, report};

const CARGO_DENY_VERSION: &str = "0.20.2";

/// Returns what could not be checked on this machine, with the reason.
pub(crate) fn check() -> Result<Option<String>> {
    let program = cargo_tools::install("cargo-deny", CARGO_DENY_VERSION)?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(paths::root()).args(["--locked", "--log-level", "warn"]).args(arguments);
        command
    };
    report::step("checking licences, duplicates and sources of the dependencies");
    command::run(&mut deny(&["check", "licenses", "bans", "sources"]))?;
    let is_fetched = command::succeeds(&mut deny(&["fetch", "db"]));
    if !is_fetched && !has_database()? {
        return Ok(Some(
            "advisories on the dependencies: the RustSec database is a git repository on GitHub, which can't be \
             reached, and was never fetched here"
                .into(),
        ));
    }
    report::step("checking advisories on the dependencies");
    command::run(&mut deny(&["--offline", "check", "advisories"]))?;
    Ok(None)
}

/// Whether the database of advisories was fetched before. cargo-deny itself reports one that is too old.
fn has_database() -> Result<bool> {
    let folders = files::entries(&paths::cargo_home()?.join("advisory-dbs"));
    Ok(folders.is_ok_and(|folders| folders.iter().any(|folder| folder.join(".git").exists())))
}
