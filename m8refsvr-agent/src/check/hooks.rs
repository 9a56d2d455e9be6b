//! The kernel's side: the programs are really loaded and attached, for a moment.

use super::Finding;
use crate::{
    bpf::{Kernel, Options, SKIPPED},
    cli::Ebpf,
    config::Settings,
    model::source::Source,
};

const CHECK: &str = "kernel programs";

/// Attaches every hook as the settings want it.
pub fn hooks(settings: &Settings) -> Vec<Finding> {
    if settings.ebpf == Ebpf::Off {
        return vec![Finding::ok(CHECK, "not wanted (--ebpf off)")];
    }
    let refused = |found: String| match settings.ebpf {
        Ebpf::Require => Finding::failure(CHECK, found),
        _ => Finding::warning(CHECK, found, "what only the kernel's side can tell is absent"),
    };
    // Nobody shall take this one for an agent.
    match Kernel::attach(&Options { bpf_fs: None, ..settings.kernel.clone() }) {
        Err(error) => vec![refused(error.to_string())],
        Ok(kernel) => {
            let attached = kernel.hooks().into_iter().map(|hook| {
                Finding::ok(
                    "hook",
                    format!(
                        "{}: {}, program {}",
                        hook.tracepoint,
                        Source::of(hook.variant, Source::None).name(),
                        hook.program
                    ),
                )
            });
            let passed_over = kernel.can_be_skipped().then(|| Finding::remark(CHECK, SKIPPED));
            attached.chain(passed_over).chain(kernel.problems().iter().cloned().map(refused)).collect()
        }
    }
}
