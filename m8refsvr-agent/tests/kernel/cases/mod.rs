//! The tests, a file for each subject.

use crate::Case;

pub(crate) mod block;
mod capacity;
mod children;
pub(crate) mod container;
mod dump;
mod exits;
mod hostile;
mod idle;
mod lifecycle;
pub(crate) mod limits;
pub(crate) mod log;
mod names;
pub(crate) mod rights;
mod selection;
mod service;
pub(crate) mod stacked;
mod switches;
mod values;

pub(crate) fn all() -> Vec<Case> {
    [
        switches::CASES,
        block::CASES,
        stacked::CASES,
        capacity::CASES,
        lifecycle::CASES,
        selection::CASES,
        exits::CASES,
        children::CASES,
        limits::CASES,
        hostile::CASES,
        values::CASES,
        names::CASES,
        idle::CASES,
        rights::CASES,
        service::CASES,
        container::CASES,
        dump::CASES,
        log::CASES,
    ]
    .into_iter()
    .flat_map(|cases| cases.iter().copied())
    .collect()
}
