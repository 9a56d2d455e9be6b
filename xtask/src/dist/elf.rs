//! Checks the program before it is packaged: that it is hardened, stripped, not too large, and needs no newer glibc
//! than promised. `readelf` reads it.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::command;

/// The largest size of the program on disk, in bytes.
const MAX_SIZE: u64 = 9_000_000;
/// The version of glibc for which the program is linked, and the newest that it may need. Older than that of RHEL 8
/// (2.28) and Amazon Linux 2 (2.26).
pub(super) const GLIBC: &str = "2.17";

/// Returns the version of glibc that the program needs. The error lists all faults.
pub(super) fn check(program: &Path) -> Result<String> {
    let size = program.metadata().with_context(|| format!("cannot read {}", program.display()))?.len();
    let readelf = command::output(
        Command::new("readelf")
            .args(["--wide", "--file-header", "--segments", "--sections", "--dynamic", "--version-info"])
            .arg(program)
            .env("LC_ALL", "C"),
    )?;
    let mut faults = faults(&readelf);
    if size > MAX_SIZE {
        faults.push(format!("takes {size} bytes, more than {MAX_SIZE}"));
    }
    if !faults.is_empty() {
        bail!("{} can't be packaged: it {}", program.display(), faults.join(", it "));
    }
    glibc(&readelf).with_context(|| format!("{} names no version of glibc", program.display()))
}

fn faults(readelf: &str) -> Vec<String> {
    let dynamic = |tag: &str, flag: &str| {
        let tag = format!("({tag})");
        readelf.lines().any(|line| line.contains(&tag) && line.split([' ', ':']).any(|word| word == flag))
    };
    let has = |start: &str| readelf.lines().any(|line| line.trim_start().starts_with(start));
    let section = |name: &str| readelf.lines().any(|line| line.split_whitespace().any(|word| word == name));
    let wanted = [
        (dynamic("FLAGS_1", "PIE"), "is not position-independent"),
        (has("GNU_RELRO"), "has no read-only relocations (RELRO)"),
        (dynamic("FLAGS", "BIND_NOW"), "binds symbols lazily, so that its RELRO is partial"),
        (has("GNU_STACK") && !executable_stack(readelf), "may have an executable stack"),
        (!section(".symtab") && !section(".debug_info"), "is not stripped"),
    ];
    let mut faults: Vec<String> =
        wanted.into_iter().filter(|(good, _)| !good).map(|(_, fault)| fault.to_owned()).collect();
    if let Some(version) =
        glibc(readelf).filter(|version| numbers(version).is_none_or(|it| Some(it) > numbers(GLIBC)))
    {
        faults.push(format!("needs glibc {version}, newer than {GLIBC}"));
    }
    faults
}

fn executable_stack(readelf: &str) -> bool {
    let stack = readelf.lines().find(|line| line.trim_start().starts_with("GNU_STACK"));
    stack.is_some_and(|line| line.split_whitespace().any(|word| word.contains('E')))
}

/// The highest version of glibc that a symbol needs.
fn glibc(readelf: &str) -> Option<String> {
    let versions = readelf.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
    versions
        .filter_map(|version| Some((numbers(version)?, version)))
        .max()
        .map(|(_, version)| version.to_owned())
}

fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
  Type:                              DYN (Position-Independent Executable file)
  [ 1] .interp           PROGBITS        0000000000000350 000350 00001c 00   A  0   0  1
  GNU_STACK      0x000000 0x0000000000000000 0x0000000000000000 0x000000 0x000000 RW  0x10
  GNU_RELRO      0x5d8a10 0x00000000005d9a10 0x00000000005d9a10 0x0315f0 0x0315f0 R   0x1
 0x000000000000001e (FLAGS)              BIND_NOW
 0x000000006ffffffb (FLAGS_1)            Flags: NOW PIE
  0x0030:   Name: GLIBC_2.9  Flags: none  Version: 17
  0x0040:   Name: GLIBC_2.17  Flags: none  Version: 5
";

    #[test]
    fn a_hardened_program_has_no_faults() {
        assert_eq!(faults(GOOD), [""; 0]);
        assert_eq!(glibc(GOOD).as_deref(), Some("2.17"));
    }

    #[test]
    fn each_weakness_is_named() {
        let fault = |from: &str, to: &str| {
            let changed = GOOD.replace(from, to);
            assert_ne!(changed, GOOD);
            faults(&changed).join("; ")
        };
        assert_eq!(fault("NOW PIE", "NOW"), "is not position-independent");
        assert_eq!(fault("  GNU_RELRO", "  NOTE"), "has no read-only relocations (RELRO)");
        assert!(fault("BIND_NOW", "").starts_with("binds symbols lazily"));
        assert_eq!(fault("RW  0x10", "RWE 0x10"), "may have an executable stack");
        assert_eq!(fault(".interp ", ".symtab "), "is not stripped");
        assert_eq!(fault("GLIBC_2.9 ", "GLIBC_2.34 "), "needs glibc 2.34, newer than 2.17");
    }
}
