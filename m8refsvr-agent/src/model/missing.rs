//! Values that could not be read in one collection, reported once: which values, of how many processes, and why.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    bpf::NoSlot,
    model::counters::{Counter, OriginKind},
    proc::Unreadable,
};

/// Values that are read together, and so are absent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Values {
    /// All counters of one origin.
    Counters(OriginKind),
    Memory,
    OpenFiles,
    CpuUsage,
    MemoryUsage,
}

impl Values {
    fn keys(self) -> Vec<&'static str> {
        match self {
            Self::Memory => vec!["memory_usage", "memory_rss", "memory_vms"],
            Self::OpenFiles => vec!["open_file_descriptors"],
            Self::CpuUsage => vec!["cpu_usage"],
            Self::MemoryUsage => vec!["memory_usage"],
            Self::Counters(kind) => {
                let counters = Counter::ALL.iter().filter(|counter| counter.origin().kind() == kind);
                counters.map(|counter| counter.key()).collect()
            }
        }
    }
}

/// Why a value is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Permission denied.
    Denied,
    /// The thread group leader has exited, and no other thread could be read in its place.
    NoLeader,
    /// The agent has no file descriptors or memory left.
    Exhausted,
    /// The kernel does not have the value, or its format is not understood.
    Unknown,
    NoFreeSlot,
    /// The process ID is beyond the table of the BPF programs.
    OutOfRange,
    /// The process is only in the second sample.
    NewToSelection,
    /// The machine's memory could not be read.
    NoMemoryTotal,
}

impl Reason {
    fn explanation(self) -> &'static str {
        match self {
            Self::Denied => {
                "permission denied; run as root, or grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH to read other \
                 users' processes"
            }
            Self::NoLeader => "its first thread has ended, and no other could be read in its stead",
            Self::Exhausted => {
                "the agent has no file descriptors or memory left; raise LimitNOFILE= of the service, or `ulimit -n`"
            }
            Self::Unknown => "the kernel does not say, or in a format that the agent does not know",
            Self::NoFreeSlot => {
                "more processes match than can be counted at once; raise --max-tracked-processes"
            }
            Self::OutOfRange => "the process id is beyond kernel.pid_max as it was at the start; start again",
            Self::NewToSelection => {
                "seen at the second collection only, so that what happened between the collections is not known"
            }
            Self::NoMemoryTotal => "/proc/meminfo could not be read",
        }
    }
}

impl From<Unreadable> for Reason {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Denied => Self::Denied,
            Unreadable::Exhausted => Self::Exhausted,
            Unreadable::Gone | Unreadable::Unknown => Self::Unknown,
        }
    }
}

impl From<NoSlot> for Reason {
    fn from(no_slot: NoSlot) -> Self {
        match no_slot {
            NoSlot::NoFreeSlot => Self::NoFreeSlot,
            NoSlot::OutOfRange => Self::OutOfRange,
            NoSlot::Gone => Self::Unknown,
        }
    }
}

/// What is absent and why, apart from the number of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Values(Reason, Values),
    /// Processes that could not be read.
    Hidden,
    /// Processes that are not visible.
    HiddenByMount,
}

/// The absent values of one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingValues {
    /// How many processes lack the values, by reason and values.
    counts: BTreeMap<(Reason, Values), usize>,
    /// Processes of which nothing could be read, so that it is not known whether they match.
    hidden: usize,
    hidden_by_mount: bool,
}

impl MissingValues {
    /// Adds absent values of one process.
    pub fn add(&mut self, values: Values, reason: impl Into<Reason>) {
        *self.counts.entry((reason.into(), values)).or_default() += 1;
    }

    /// Adds a process of which nothing could be read.
    pub fn hide(&mut self) {
        self.hidden += 1;
    }

    /// Notes that the agent may not see all processes.
    pub fn hidden_by_mount(&mut self) {
        self.hidden_by_mount = true;
    }

    /// Whether /proc hides processes from the agent, of which some may match.
    pub fn hides_processes(&self) -> bool {
        self.hidden > 0 || self.hidden_by_mount
    }

    /// A sentence for each reason, with the values that are not in `reported` yet. Adds these to `reported`.
    pub fn unreported(&self, reported: &mut BTreeSet<Key>) -> Vec<String> {
        let mut counts = self.counts.clone();
        counts.retain(|&(reason, values), _| reported.insert(Key::Values(reason, values)));
        let is_new = |is: bool, key, reported: &mut BTreeSet<Key>| is && reported.insert(key);
        let new = Self {
            counts,
            hidden: if is_new(self.hidden > 0, Key::Hidden, reported) { self.hidden } else { 0 },
            hidden_by_mount: is_new(self.hidden_by_mount, Key::HiddenByMount, reported),
        };
        new.sentences()
    }

    /// A sentence for each reason.
    pub fn sentences(&self) -> Vec<String> {
        let mut by_reason: BTreeMap<Reason, Vec<String>> = BTreeMap::new();
        for ((reason, values), &count) in &self.counts {
            let processes = if count == 1 { "process" } else { "processes" };
            let text = format!("{} of {count} {processes}", values.keys().join(", "));
            by_reason.entry(*reason).or_default().push(text);
        }
        let mut sentences: Vec<String> = by_reason
            .into_iter()
            .map(|(reason, texts)| format!("absent: {}: {}", texts.join("; "), reason.explanation()))
            .collect();
        if self.hidden > 0 {
            sentences.push(format!(
                "{} processes could not be read, and may match: /proc is mounted with hidepid, or was not \
                 understood; run as root, or grant CAP_SYS_PTRACE",
                self.hidden
            ));
        }
        if self.hidden_by_mount {
            sentences.push(
                "other users' processes can't be seen: /proc is mounted with hidepid; run as root, or grant \
                 CAP_SYS_PTRACE"
                    .into(),
            );
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_reported_once_with_all_values_and_the_number_of_processes() {
        let mut missing = MissingValues::default();
        missing.add(Values::Counters(OriginKind::Io), Unreadable::Denied);
        missing.add(Values::Counters(OriginKind::Io), Unreadable::Denied);
        missing.add(Values::OpenFiles, Unreadable::Denied);
        let sentences = missing.sentences();
        assert_eq!(sentences.len(), 1);
        let expected = format!(
            "absent: {} of 2 processes; open_file_descriptors of 1 process: permission denied;",
            Values::Counters(OriginKind::Io).keys().join(", ")
        );
        assert!(sentences[0].starts_with(&expected), "{sentences:?}");
    }

    #[test]
    fn what_was_said_is_not_said_again_whatever_the_number() {
        let mut reported = BTreeSet::new();
        let mut missing = MissingValues::default();
        missing.add(Values::OpenFiles, Unreadable::Denied);
        missing.hide();
        assert_eq!(missing.unreported(&mut reported).len(), 2);
        missing.add(Values::OpenFiles, Unreadable::Denied);
        missing.hide();
        assert_eq!(missing.unreported(&mut reported), [""; 0]);
        missing.add(Values::Memory, Unreadable::Denied);
        missing.hidden_by_mount();
        let new = missing.unreported(&mut reported);
        assert_eq!(new.len(), 2, "{new:?}");
        assert!(new[0].starts_with("absent: memory_usage, memory_rss, memory_vms of 1 process:"), "{new:?}");
    }

    #[test]
    fn nothing_absent_is_nothing_to_say() {
        assert!(MissingValues::default().sentences().is_empty());
    }
}
