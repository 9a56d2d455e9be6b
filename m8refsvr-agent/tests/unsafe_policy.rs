//! Where unsafe code may be.

use std::{fs, path::Path};

use m8refsvr_test_support::files::files_below;
use regex::Regex;

/// Nothing is asked of the eBPF crate, which can't do without unsafe code.
#[test]
fn unsafe_code_is_in_the_folder_sys_and_in_the_ebpf_crate_alone() {
    assert_eq!(with_unsafe_code("m8refsvr-agent"), ["sys"]);
    assert_eq!(with_unsafe_code("m8refsvr-common"), [""; 0]);
    assert_eq!(with_unsafe_code("xtask"), [""; 0]);
}

/// The folders and files in `src` of a crate that have unsafe code.
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
fn with_unsafe_code(package: &str) -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(package).join("src");
    let is_unsafe = Regex::new(r"^[^/]*\bunsafe\s*(\{|\(|fn\b|impl\b|trait\b|extern\b)").unwrap();
    let mut found: Vec<String> = files_below(&source)
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().lines().any(|line| is_unsafe.is_match(line)))
        .map(|path| path.strip_prefix(&source).unwrap().iter().next().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    found.dedup();
    found
}
