//! Counts of starts, restarts and exits, with exit codes and signals: a pure function of the changes it receives.

use std::{collections::BTreeMap, time::SystemTime};

use crate::model::exit::Exit;

/// Counts since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Churn {
    /// Processes that began to match.
    pub starts: u64,
    /// Starts that followed the exit of another process.
    pub restarts: u64,
    /// Processes that exited, by code or signal. Core dumps are not counted apart.
    pub exits: BTreeMap<Exit, u64>,
    /// Exits that no start has followed yet.
    vacant: u64,
}

/// A start or an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) at: SystemTime,
    /// How the process exited; `None` for a start.
    pub(crate) exit: Option<Exit>,
}

impl Churn {
    /// Exits by reason, code and signal. Normal exits are always included, even if there are none.
    pub fn exits(&self) -> impl Iterator<Item = (Exit, u64)> {
        const NORMAL: Exit = Exit::Code(0);
        let normal = self.exits.get(&NORMAL).copied().unwrap_or_default();
        let others = self.exits.iter().filter(|&(&exit, _)| exit != NORMAL);
        [(NORMAL, normal)].into_iter().chain(others.map(|(&exit, &count)| (exit, count)))
    }

    /// Adds the changes between two collections, in any order.
    pub(crate) fn record(&mut self, mut changes: Vec<Change>) {
        changes.sort_unstable_by_key(|change| change.at);
        for change in changes {
            match change.exit {
                Some(exit) => {
                    let exit = match exit {
                        Exit::Signal { number, .. } => Exit::Signal { number, core_dumped: false },
                        exit => exit,
                    };
                    *self.exits.entry(exit).or_default() += 1;
                    self.vacant += 1;
                }
                None => {
                    self.starts += 1;
                    self.restarts += self.vacant.min(1);
                    self.vacant = self.vacant.saturating_sub(1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn start(second: u64) -> Change {
        Change { at: UNIX_EPOCH + Duration::from_secs(second), exit: None }
    }

    fn end(second: u64) -> Change {
        Change { exit: Some(Exit::Code(0)), ..start(second) }
    }

    #[test]
    fn one_that_takes_the_place_of_another_is_a_restart_whatever_the_order_in_which_it_is_told() {
        let mut churn = Churn::default();
        churn.record(vec![start(3), end(4), start(1), end(2)]);
        assert_eq!((churn.starts, churn.restarts), (2, 1));
        churn.record(vec![start(5), start(6)]);
        assert_eq!((churn.starts, churn.restarts), (4, 2));
    }

    #[test]
    fn ends_are_counted_by_how_they_were_and_a_core_makes_no_difference() {
        let mut churn = Churn::default();
        let signal = |core_dumped| Change { exit: Some(Exit::Signal { number: 11, core_dumped }), ..end(1) };
        churn.record(vec![end(1), signal(true), signal(false), end(2)]);
        let exits: Vec<_> = churn.exits.values().copied().collect();
        assert_eq!(exits, [2, 2]);
        assert_eq!(churn.starts, 0);
    }
}
