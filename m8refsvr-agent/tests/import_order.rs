//! The order of imports: a folder imports those before it in the flow of data, and none after it.

use std::{fs, path::Path};

use m8refsvr_test_support::files::files_below;

/// The folders of the agent, in the order in which data flows: each imports those before it, and none after it.
const LAYERS: [&str; 14] = [
    "sys",
    "proc",
    "bpf",
    "model",
    "tracker",
    "collector",
    "metrics",
    "logging",
    "export",
    "cli",
    "config",
    "check",
    "service",
    "commands",
];

/// The modules of xtask, in the same order: what all commands use, then what builds, then the commands.
const XTASK_LAYERS: [&str; 15] = [
    "report", "paths", "files", "command", "docs", "deps", "build", "check", "dist", "vm", "bench", "demo",
    "run", "fuzz", "test",
];

#[test]
fn a_folder_imports_only_those_before_it_in_the_flow() {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    imports_follow(&LAYERS, &agent.join("src"));
}

#[test]
fn a_module_of_xtask_imports_only_those_before_it() {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    imports_follow(&XTASK_LAYERS, &agent.with_file_name("xtask").join("src"));
}

/// Fails unless the modules below `source` are those of `layers`, and each imports only those before it.
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
fn imports_follow(layers: &[&str], source: &Path) {
    let place = |name: &str| layers.iter().position(|layer| *layer == name);
    let module = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let (mut names, mut faults, mut seen) = (Vec::new(), Vec::new(), 0);
    for entry in fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()) {
        let name = module(&entry);
        if ["lib", "main"].contains(&name.as_str()) {
            continue;
        }
        let layer = place(&name);
        names.push(name);
        for path in if entry.is_dir() { files_below(&entry) } else { vec![entry] } {
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            for import in imports(&fs::read_to_string(&path).unwrap()) {
                seen += 1;
                let Some(imported) = place(&import) else {
                    panic!("{}: {import} is no layer; give it its place in the list", path.display())
                };
                if Some(imported) > layer {
                    faults.push(format!("{} imports {import}", path.strip_prefix(source).unwrap().display()));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were found");
    assert!(faults.is_empty(), "imports against the flow:\n{}", faults.join("\n"));
    names.sort();
    let mut layers = layers.to_vec();
    layers.sort_unstable();
    assert_eq!(names, layers, "every module has its place in the flow");
}

/// The folders that a file names as `crate::NAME` or in `crate::{NAME, ...}`, those of its tests included.
fn imports(text: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.chars().take_while(|&letter| letter.is_ascii_lowercase() || letter == '_').collect()
    };
    let mut found = Vec::new();
    for (_, rest) in text.match_indices("crate::").map(|(at, start)| text.split_at(at + start.len())) {
        let Some(list) = rest.strip_prefix('{') else {
            found.push(name(rest));
            continue;
        };
        let mut depth = 1;
        let mut is_first = true;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && is_first && letter.is_ascii_lowercase() {
                found.push(name(&list[at..]));
                is_first = false;
            }
            if depth == 1 && letter == ',' {
                is_first = true;
            }
        }
    }
    // A macro of the crate, or an item of its root, is in no folder.
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn imports_are_found_in_lists_and_in_paths() {
    let text = "use crate::{a::{b, c}, d::e,\n    f,\n};\nfn g() { crate::h::i(); }\nuse crate::j::K;";
    assert_eq!(imports(text), ["a", "d", "f", "h", "j"]);
}
