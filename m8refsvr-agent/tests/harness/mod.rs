//! What the test programs share that need something of the machine. A test that can't run here is reported as ignored,
//! with its name and the reason.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use libtest_mimic::{Arguments, Trial};
use m8refsvr_agent::bpf::{Kernel, KernelError, Options};

/// A test: a sentence about behaviour, what it needs, and the proof.
#[derive(Clone, Copy)]
pub(crate) struct Case<N: 'static> {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [N],
    pub(crate) run: fn(),
}

/// Runs those for which there is no reason against one of their needs.
pub(crate) fn run<N: Copy + PartialEq>(
    cases: Vec<Case<N>>,
    arguments: &Arguments,
    reason_against: impl Fn(N) -> Option<String>,
) -> ExitCode {
    let mut known: Vec<(N, Option<String>)> = Vec::new();
    let mut left_out = Vec::new();
    let trials = cases
        .into_iter()
        .map(|case| {
            let reason = case.needs.iter().find_map(|&need| {
                if !known.iter().any(|(known, _)| *known == need) {
                    known.push((need, reason_against(need)));
                }
                known.iter().find(|(known, _)| *known == need)?.1.clone()
            });
            if let Some(reason) = &reason {
                left_out.push(format!("{}: {reason}", case.name));
            }
            Trial::test(case.name, move || {
                (case.run)();
                Ok(())
            })
            .with_ignored_flag(reason.is_some())
        })
        .collect();
    let conclusion = libtest_mimic::run(arguments, trials);
    for line in &left_out {
        eprintln!("could not run here: {line}");
    }
    conclusion.exit_code()
}

/// Why programs can't be loaded and attached here.
pub(crate) fn reason_against_bpf() -> Option<String> {
    let options = Options { capacity: 1, bpf_fs: None, ..Options::default() };
    match Kernel::attach(&options) {
        Err(
            error @ (KernelError::Refused { .. } | KernelError::PidNamespace | KernelError::OtherProc { .. }),
        ) => Some(error.to_string()),
        // Anything else is an error of ours, and shall be seen by the tests.
        _ => None,
    }
}

/// Where control groups with a limit of memory can be made, and the name of the limit.
pub(crate) fn memory_group() -> Result<(PathBuf, &'static str), String> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("memory/memory.limit_in_bytes").exists() {
        return Ok((root.join("memory"), "memory.limit_in_bytes"));
    }
    let controllers = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
    if controllers.split_whitespace().any(|controller| controller == "memory") {
        return Ok((root.to_owned(), "memory.max"));
    }
    Err("no control group with a limit of memory can be made".into())
}

/// Why the memory of processes that are killed is not written to files.
pub(crate) fn reason_against_core_files() -> Option<String> {
    match fs::read_to_string("/proc/sys/kernel/core_pattern") {
        Ok(pattern) if !pattern.starts_with('|') && !pattern.trim().is_empty() => None,
        _ => Some("kernel.core_pattern writes no files".to_owned()),
    }
}
