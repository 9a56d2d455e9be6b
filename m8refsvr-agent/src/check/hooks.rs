//! The kernel's side: the BPF programs are really loaded and attached, for a moment.

use super::{finding::Finding, verdict::counted};
use crate::{
    bpf::{Hook, Kernel, Options, SKIPPED},
    cli::Ebpf,
    config::Settings,
    model::source::Source,
};

const CHECK: &str = "BPF programs";

/// Attaches every hook as the settings want it. One line when all are well.
pub fn hooks(settings: &Settings) -> Vec<Finding> {
    if settings.ebpf == Ebpf::Off {
        return vec![Finding::ok(CHECK, "not used (--ebpf off)")];
    }
    let refused = |found: String| match settings.ebpf {
        Ebpf::Require => Finding::failure(CHECK, found),
        _ => Finding::warning(CHECK, found, "without them only what /proc has is collected"),
    };
    // No other agent or dump shall take this process for an agent.
    match Kernel::attach(&Options { bpf_fs: None, ..settings.kernel.clone() }) {
        Err(error) => vec![refused(error.to_string())],
        Ok(kernel) => {
            let (hooks, problems) = (kernel.hooks(), kernel.problems());
            let attached =
                if problems.is_empty() { vec![together(&hooks)] } else { hooks.iter().map(one).collect() };
            let skipped = kernel.can_be_skipped().then(|| Finding::remark(CHECK, SKIPPED));
            attached.into_iter().chain(skipped).chain(problems.iter().cloned().map(refused)).collect()
        }
    }
}

fn source(hook: &Hook) -> &'static str {
    Source::of(hook.variant, Source::None).name()
}

fn one(hook: &Hook) -> Finding {
    Finding::ok("hook", format!("{}: {}, program {}", hook.tracepoint, source(hook), hook.program))
}

/// All hooks in one line, by how they are attached.
fn together(hooks: &[Hook]) -> Finding {
    let mut kinds: Vec<&str> = hooks.iter().map(source).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let of_kind = |kind: &str| {
        let names: Vec<&str> =
            hooks.iter().filter(|hook| source(hook) == kind).map(|hook| hook.tracepoint).collect();
        format!("{} by {kind} ({})", counted(names.len(), "hook"), names.join(", "))
    };
    let kinds: Vec<String> = kinds.into_iter().map(of_kind).collect();
    Finding::ok(CHECK, format!("all attached: {}", kinds.join(", ")))
}

#[cfg(test)]
mod tests {
    use m8refsvr_common::signal::Variant;

    use super::*;

    #[test]
    fn hooks_that_are_all_well_are_one_line() {
        let hook = |tracepoint, variant| Hook { tracepoint, program: "p", variant };
        let hooks = [
            hook("a", Variant::Tracepoint),
            hook("b", Variant::RawTracepoint),
            hook("c", Variant::RawTracepoint),
        ];
        let found = "all attached: 2 hooks by raw_tracepoint (b, c), 1 hook by tracepoint (a)";
        assert_eq!(together(&hooks).found, found);
    }
}
