//! The tests, a file for each subject.

use crate::Case;

mod answers;
mod catalogue;
mod check;
mod cost;
mod ending;
mod exits;
mod export_delay;
mod log;
mod outage;
mod per_process;
mod proxy;
mod receivers;
mod sd_notify;
mod tls;
mod totals;
mod victoria_metrics;

pub(crate) fn all() -> Vec<Case> {
    [
        receivers::CASES,
        victoria_metrics::CASES,
        catalogue::CASES,
        tls::CASES,
        outage::CASES,
        answers::CASES,
        ending::CASES,
        totals::CASES,
        export_delay::CASES,
        cost::CASES,
        log::CASES,
        sd_notify::CASES,
        check::CASES,
        exits::CASES,
        per_process::CASES,
        proxy::CASES,
    ]
    .into_iter()
    .flat_map(|cases| cases.iter().copied())
    .collect()
}
