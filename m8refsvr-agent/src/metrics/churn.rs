//! What each group gains and loses: starts, restarts, exits, and processes that were selected or deselected. A pure
//! function of the changes it receives. The number of processes of a group is that at the first collection, plus starts and
//! selected, less exits and deselected; a process that a collection can't read is missing in it.

use std::{collections::BTreeMap, time::SystemTime};

use crate::model::exit::Exit;

/// Counts since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Churn {
    /// Processes that started and match.
    pub starts: u64,
    /// Starts that followed the exit of another process. Children of the group's processes are not counted, nor are their
    /// exits.
    pub restarts: u64,
    /// Processes that began to match while they ran.
    pub selected: u64,
    /// Processes that no longer match, and still run.
    pub deselected: u64,
    /// Processes that exited, by code or signal. Core dumps are not counted apart.
    pub exits: BTreeMap<Exit, u64>,
    /// Exits that no start has followed yet.
    vacant: u64,
}

/// What happened to a process of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: SystemTime,
    pub(crate) kind: ChangeKind,
    /// Whether its parent was a process of the same group when it was forked.
    pub(crate) has_parent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Started,
    Selected,
    Deselected,
    Exited(Exit),
}

impl Churn {
    /// Exits by each reason, also where there was none: a series that first appears with 1 shows a backend no growth.
    pub fn exits_by_reason(&self) -> BTreeMap<&'static str, u64> {
        let mut exits: BTreeMap<_, _> = Exit::REASONS.iter().map(|&reason| (reason, 0)).collect();
        for (exit, count) in &self.exits {
            *exits.entry(exit.reason()).or_default() += count;
        }
        exits
    }

    /// Adds the changes between two collections, in any order.
    pub(crate) fn record(&mut self, mut changes: Vec<Change>) {
        changes.sort_by_key(|change| change.at);
        for Change { kind, has_parent, .. } in changes {
            match kind {
                ChangeKind::Started => {
                    self.starts += 1;
                    if !has_parent && self.vacant > 0 {
                        self.restarts += 1;
                        self.vacant -= 1;
                    }
                }
                ChangeKind::Selected => self.selected += 1,
                ChangeKind::Deselected => self.deselected += 1,
                ChangeKind::Exited(exit) => {
                    let exit = match exit {
                        Exit::Signal { number, .. } => Exit::Signal { number, core_dumped: false },
                        exit => exit,
                    };
                    *self.exits.entry(exit).or_default() += 1;
                    self.vacant += u64::from(!has_parent);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn change(kind: ChangeKind, second: u64, has_parent: bool) -> Change {
        Change { at: UNIX_EPOCH + Duration::from_secs(second), kind, has_parent }
    }

    fn start(second: u64) -> Change {
        change(ChangeKind::Started, second, false)
    }

    fn exit(second: u64) -> Change {
        change(ChangeKind::Exited(Exit::Code(0)), second, false)
    }

    #[test]
    fn a_start_after_an_exit_is_a_restart_whatever_the_order_in_which_they_are_reported() {
        let mut churn = Churn::default();
        churn.record(vec![start(3), exit(4), start(1), exit(2)]);
        assert_eq!((churn.starts, churn.restarts), (2, 1));
        churn.record(vec![start(5), start(6)]);
        assert_eq!((churn.starts, churn.restarts), (4, 2));
    }

    #[test]
    fn a_daemon_that_starts_once_is_no_restart_and_is_one_when_it_starts_again() {
        let mut churn = Churn::default();
        // The parent forks the daemon, and exits.
        let daemon =
            |second| [start(second), change(ChangeKind::Started, second + 1, true), exit(second + 2)];
        churn.record(daemon(1).into());
        assert_eq!((churn.starts, churn.restarts), (2, 0));
        churn.record(vec![change(ChangeKind::Exited(Exit::Code(1)), 10, true)]);
        churn.record(daemon(20).into());
        assert_eq!((churn.starts, churn.restarts), (4, 1));
    }

    #[test]
    fn children_of_a_server_are_no_restarts_as_long_as_it_lives() {
        let mut churn = Churn::default();
        churn.record(vec![start(1)]);
        for second in 2..26 {
            let child = |kind, second| change(kind, second, true);
            churn.record(vec![
                child(ChangeKind::Started, 2 * second),
                child(ChangeKind::Exited(Exit::Code(0)), 2 * second + 1),
            ]);
        }
        assert_eq!((churn.starts, churn.restarts), (25, 0));
        churn.record(vec![exit(100), start(101)]);
        assert_eq!((churn.starts, churn.restarts), (26, 1));
    }

    #[test]
    fn exits_have_a_count_for_each_reason_and_a_core_makes_no_difference() {
        let mut churn = Churn::default();
        assert!(churn.exits_by_reason().values().all(|&count| count == 0));
        let signal =
            |core_dumped| change(ChangeKind::Exited(Exit::Signal { number: 11, core_dumped }), 1, false);
        let error = change(ChangeKind::Exited(Exit::Code(3)), 1, false);
        churn.record(vec![exit(1), signal(true), signal(false), exit(2), error]);
        assert_eq!(churn.exits.values().copied().collect::<Vec<_>>(), [2, 1, 2]);
        let reasons: Vec<_> = churn.exits_by_reason().into_iter().collect();
        assert_eq!(reasons, [("error", 1), ("normal", 2), ("oom", 0), ("signal", 2), ("unknown", 0)]);
        assert_eq!((churn.starts, churn.selected, churn.deselected), (0, 0, 0));
    }
}
