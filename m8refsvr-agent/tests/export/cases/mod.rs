//! The tests, a file for each subject.

use crate::Case;

mod catalogue;
mod check;
mod cost;
mod ending;
mod log;
mod manager;
mod outage;
mod receivers;
mod tls;
mod totals;
mod turn;
mod victoria_metrics;

pub(crate) fn all() -> Vec<Case> {
    [
        receivers::CASES,
        victoria_metrics::CASES,
        catalogue::CASES,
        tls::CASES,
        outage::CASES,
        ending::CASES,
        totals::CASES,
        turn::CASES,
        cost::CASES,
        log::CASES,
        manager::CASES,
        check::CASES,
    ]
    .into_iter()
    .flat_map(|cases| cases.iter().copied())
    .collect()
}
