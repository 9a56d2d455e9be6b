//! Capabilities: which ones a thread has, which ones are missing, and which ones it gives up once it no longer needs
//! them. Capabilities belong to threads, so each thread gives up its own. A thread without a capability gives up
//! nothing.
//!
//! Slots are taken from the free list and returned to it by bpf calls. Before Linux 5.19 each bpf call needs `CAP_BPF`
//! once `kernel.unprivileged_bpf_disabled` is set, which may be long after the agent was started: without the
//! capability no more processes could be tracked. So the capability is kept there, unless calls succeeded without it
//! while that was set.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// For files of other users in /proc, for certificates and keys and, where it was granted, for a log in any folder.
const FILES: CapabilitySet = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::DAC_OVERRIDE);
/// For collections.
const COLLECTION: CapabilitySet = FILES.union(CapabilitySet::SYS_PTRACE);
/// For maps, on kernels that may need them for each bpf call.
const MAPS: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN);

/// The effective capabilities of this thread; `None` where they can't be read.
pub fn effective() -> Option<CapabilitySet> {
    capabilities(None).ok().map(|sets| sets.effective)
}

/// The names of those that are not held. `CAP_SYS_ADMIN` includes `CAP_BPF` and `CAP_PERFMON`.
pub fn missing<'a>(held: CapabilitySet, needed: &[(CapabilitySet, &'a str)]) -> Vec<&'a str> {
    let included = if held.contains(CapabilitySet::SYS_ADMIN) {
        CapabilitySet::BPF | CapabilitySet::PERFMON
    } else {
        CapabilitySet::empty()
    };
    needed.iter().filter(|(one, _)| !(held | included).contains(*one)).map(|(_, name)| *name).collect()
}

/// For a thread that opens files and connections, and neither collects nor uses maps.
pub fn for_files() {
    keep(FILES);
}

/// For the thread that collects, after the BPF programs were attached. `reaches_maps` is whether bpf calls succeed
/// without [`MAPS`], and always will.
pub fn for_collections(reaches_maps: impl Fn() -> bool) {
    let Ok(before) = capabilities(None) else { return };
    let mut without = before;
    without.effective.remove(MAPS);
    let needs_maps = set_capabilities(None, without).is_err() || !reaches_maps();
    keep(if needs_maps { COLLECTION.union(MAPS) } else { COLLECTION });
}

/// Gives up all others for good.
fn keep(needed: CapabilitySet) {
    let outcome = capabilities(None).and_then(|mut held| {
        held.permitted &= needed;
        held.effective = held.permitted;
        // Those that an executed program would get. This thread executes none.
        held.inheritable = CapabilitySet::empty();
        set_capabilities(None, held)
    });
    if let Err(error) = outcome {
        tracing::debug!("capabilities can't be given up: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The capabilities of a new thread after `what`. Those of other threads do not change.
    fn remaining(what: impl FnOnce() + Send) -> CapabilitySet {
        let remaining = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                what();
                capabilities(None).unwrap()
            });
            thread.join().unwrap()
        });
        assert_eq!(remaining.effective, remaining.permitted);
        assert_eq!(remaining.inheritable, CapabilitySet::empty());
        remaining.permitted
    }

    #[test]
    fn each_thread_keeps_what_it_needs_of_what_there_was() {
        let held = capabilities(None).unwrap().permitted;
        assert_eq!(remaining(for_files), held & FILES);
        assert_eq!(remaining(|| for_collections(|| true)), held & COLLECTION);
        assert_eq!(remaining(|| for_collections(|| false)), held & COLLECTION.union(MAPS));
        assert_eq!(capabilities(None).unwrap().permitted, held);
    }

    #[test]
    fn the_coarse_capability_includes_the_finer_ones() {
        const NEEDED: [(CapabilitySet, &str); 2] =
            [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE")];
        assert_eq!(missing(CapabilitySet::SYS_ADMIN, &NEEDED), ["CAP_SYS_PTRACE"]);
        assert_eq!(missing(CapabilitySet::empty(), &NEEDED), ["CAP_BPF", "CAP_SYS_PTRACE"]);
        assert_eq!(missing(CapabilitySet::all(), &NEEDED), [""; 0]);
    }

    #[test]
    fn maps_are_tried_without_what_some_kernels_want_for_them() {
        remaining(|| {
            for_collections(|| {
                assert!(!capabilities(None).unwrap().effective.intersects(MAPS));
                true
            });
        });
    }
}
