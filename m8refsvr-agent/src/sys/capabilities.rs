//! Capabilities that are given up once they are no longer needed. They belong to threads, so each thread does it for
//! itself. What this process never had, as where it is no service and no root, changes nothing.
//!
//! Free slots are taken and given back by the bpf call. Before Linux 5.19 it asks for `CAP_BPF` in everything as soon as
//! `kernel.unprivileged_bpf_disabled` is set, which may be long after the agent was started: without the capability it
//! could then track no more processes. So there it is kept, unless the call was seen to do without while that is set.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// For other users' files below /proc, for certificates and keys, and, where it was there, for a log in any folder.
const FILES: CapabilitySet = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::DAC_OVERRIDE);
/// For a collection.
const LOOK: CapabilitySet = FILES.union(CapabilitySet::SYS_PTRACE);
/// For maps, on kernels that may ask for them whenever a map is touched.
const MAPS: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN);

/// In a thread that opens files and connections, and neither collects nor touches maps.
pub fn for_files() {
    keep(FILES);
}

/// In the thread that collects, after the programs were attached. `reaches_maps` says whether it can still use the maps
/// without these capabilities, now and later.
pub fn for_collections(reaches_maps: impl Fn() -> bool) {
    let Ok(before) = capabilities(None) else { return };
    let mut without = before;
    without.effective.remove(MAPS);
    let needs_maps = set_capabilities(None, without).is_err() || !reaches_maps();
    keep(if needs_maps { LOOK.union(MAPS) } else { LOOK });
}

/// Gives up all but these, for good.
fn keep(needed: CapabilitySet) {
    let outcome = capabilities(None).and_then(|mut held| {
        held.permitted &= needed;
        held.effective = held.permitted;
        // What a program that this thread executed would get; it executes none.
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

    /// What a thread of its own has left after `what`; the capabilities of others are their own.
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
        assert_eq!(remaining(|| for_collections(|| true)), held & LOOK);
        assert_eq!(remaining(|| for_collections(|| false)), held & LOOK.union(MAPS));
        assert_eq!(capabilities(None).unwrap().permitted, held);
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
