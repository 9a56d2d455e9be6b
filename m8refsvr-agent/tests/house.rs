//! What holds for the sources themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

/// The product's sources. The kernel programs (`m8refsvr-ebpf`) can't do without unsafe code; of tests some make system
/// calls that no library offers.
const SOURCES: [&str; 3] = ["m8refsvr-agent/src", "m8refsvr-common/src", "xtask/src"];

#[test]
fn unsafe_code_is_in_the_folder_sys_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let is_unsafe = Regex::new(r"^[^/]*\bunsafe\s*(\{|\(|fn\b|impl\b|trait\b|extern\b)").unwrap();
    let mut found: Vec<PathBuf> = Vec::new();
    let mut folders: Vec<PathBuf> = SOURCES.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).unwrap().lines().any(|line| is_unsafe.is_match(line)) {
                found.push(path.strip_prefix(root).unwrap().into());
            }
        }
    }
    found.sort();
    let sys = Path::new("m8refsvr-agent/src/sys");
    assert_eq!(found, ["clock_status.rs", "heap.rs", "mapped_array.rs"].map(|file| sys.join(file)));
}
