//! The tests, a file for each subject.

use crate::Case;

mod catalogue;
mod check;
mod cost;
mod ending;
// To be listed in `all` once the agent exports exits; without this line then.
#[expect(dead_code, reason = "the agent exports no exits yet")]
mod exits;
mod log;
mod manager;
mod outage;
// To be listed in `all` once each process is a resource of its own; without this line then.
#[expect(dead_code, reason = "processes are attributes of points yet")]
mod per_process;
// To be listed in `all` once the agent goes through proxies; without this line then.
#[expect(dead_code, reason = "the agent goes through no proxy yet")]
mod proxy;
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
