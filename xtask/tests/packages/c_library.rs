//! The program and the C library: the oldest version that it needs, and that it works with each.

use std::{fs, os::unix::fs::symlink, process::Command};

use m8refsvr_test_support::load::{LoadProcess, Programs};

use crate::packages::Packages;

const PROGRAM: &str = "usr/bin/m8refsvr-agent";

pub(crate) fn needs_glibc_2_17(packages: &Packages) {
    let text = |command: &mut Command| {
        let output = command.env("LC_ALL", "C").output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = tempfile::TempDir::new().unwrap();
    packages.unpack(folder.path());
    let versions =
        text(Command::new("readelf").args(["--wide", "--version-info"]).arg(folder.path().join(PROGRAM)));
    let depends = text(Command::new("dpkg-deb").arg("--field").arg(packages.find(".deb")).arg("Depends"));
    let requires = text(Command::new("rpm").args(["-qp", "--requires"]).arg(packages.find(".rpm")));
    let minors = |text: &str| -> Vec<u32> {
        let names = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "._".contains(letter)));
        let versions = names.filter_map(|name| name.strip_prefix("GLIBC_2."));
        versions.map(|version| version.split('.').next().unwrap().parse().unwrap()).collect()
    };
    for text in [&versions, &requires] {
        assert_eq!(minors(text).into_iter().max(), Some(17), "{text}");
    }
    assert!(depends.contains("libc6 (>= 2.17)"), "{depends}");
}

/// Runs the program in a root folder that has the C library of a suite and little else.
pub(crate) fn counts_with(suite: &str, packages: &Packages) {
    let folder = tempfile::TempDir::new().unwrap();
    let copy = folder.path().join("root");
    assert!(
        Command::new("cp").arg("-a").arg(packages.roots.join(suite)).arg(&copy).status().unwrap().success()
    );
    // In later releases these links belong to another package.
    for (link, place) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        if !copy.join(link).exists() {
            symlink(place, copy.join(link)).unwrap();
        }
    }
    packages.unpack(&copy);
    for mount in ["dev", "proc", "sys"] {
        fs::create_dir_all(copy.join(mount)).unwrap();
    }
    // A name of its own, as the tests run at the same time.
    let name = format!("m8r_{suite}");
    let programs = Programs::new_in(folder.path(), &[&name]).unwrap();
    let _load =
        LoadProcess::start(&mut programs.command(&name, ["repeat", "sleep 20", "follow-lines"])).unwrap();
    let script = format!(
        "mount --rbind /dev dev && mount --bind /proc proc && mount --rbind /sys sys && exec chroot . /{PROGRAM} --once --no-export --sample 0.5 \
         --ebpf require --process {name}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).current_dir(&copy);
    let output = command.output().unwrap();
    let (printed, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {printed}{error}", output.status);
    let document: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let metrics = &document["metrics"];
    assert_eq!(metrics["process_count"], 1, "{printed}");
    assert!(
        document["agent"]["sources"]["context_switches"].as_str().unwrap().ends_with("tracepoint"),
        "{printed}"
    );
    assert!(metrics["voluntary_ctx_switches"].as_u64().unwrap() > 5, "{printed}");
}
