//! Finds the eBPF object that the agent embeds, or says in one sentence how to get it.

use std::{env, path::Path};

fn main() {
    println!("cargo::rerun-if-env-changed=M8REFSVR_EBPF_OBJECT");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    let object = env::var("M8REFSVR_EBPF_OBJECT")
        .unwrap_or_else(|_| format!("{}/../target/bpf/m8refsvr.o", env!("CARGO_MANIFEST_DIR")));
    println!("cargo::rerun-if-changed={object}");
    println!("cargo::rustc-env=M8REFSVR_EBPF_OBJECT={object}");
    if !Path::new(&object).is_file() {
        println!(
            "cargo::error=the eBPF object {object} is missing: run `cargo xtask build-ebpf` once, or build with \
             `--no-default-features` an agent that reads /proc alone"
        );
    }
}
