//! Hands the eBPF object that the agent embeds to the compiler, or says in one sentence how to get it.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-env-changed=M8REFSVR_EBPF_OBJECT");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    // Relative to the package, as all of cargo's own: a target folder may be copied to another checkout.
    let object = env::var("M8REFSVR_EBPF_OBJECT").unwrap_or_else(|_| "../target/bpf/m8refsvr.o".into());
    println!("cargo::rerun-if-changed={object}");
    if !Path::new(&object).is_file() {
        println!(
            "cargo::error=the eBPF object {object} is missing: run `cargo xtask build-ebpf` once, or build with \
             `--no-default-features` an agent that reads /proc alone"
        );
        return;
    }
    let copied = env::var_os("OUT_DIR").ok_or("cargo set no OUT_DIR".to_owned()).and_then(|folder| {
        fs::copy(&object, Path::new(&folder).join("m8refsvr.o")).map_err(|error| error.to_string())
    });
    if let Err(error) = copied {
        println!("cargo::error=the eBPF object {object} can't be copied: {error}");
    }
}
