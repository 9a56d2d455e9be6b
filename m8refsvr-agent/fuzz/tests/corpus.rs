//! Every input that the fuzzer kept, through its target again; `cargo xtask fuzz` searches for more.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use m8refsvr_fuzz as fuzz;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(name: &str) -> Vec<PathBuf> {
    fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn each_input_of_the_corpus_passes_its_target() {
    for (name, _) in fuzz::ALL {
        for path in files(&format!("corpus/{name}")) {
            let data = fs::read(&path).unwrap();
            let outcome = catch_unwind(AssertUnwindSafe(|| fuzz::run(name, &data)));
            assert!(outcome.is_ok(), "{} breaks it", path.display());
        }
    }
}

#[test]
fn each_target_has_a_program_and_a_corpus() {
    let targets: BTreeSet<String> = fuzz::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: &str, is_target: fn(&PathBuf) -> bool| -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        files(folder).into_iter().filter(is_target).map(stem).collect()
    };
    let is_program = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    assert_eq!(stems("fuzz_targets", is_program), targets);
    assert_eq!(stems("corpus", |path| path.is_dir()), targets);
    for name in &targets {
        let program = fs::read_to_string(folder(&format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("\"{name}\"")), "{name} runs another target");
        assert!(!files(&format!("corpus/{name}")).is_empty(), "{name} has no corpus");
    }
}
