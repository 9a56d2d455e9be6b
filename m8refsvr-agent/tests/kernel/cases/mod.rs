//! The tests, a file for each subject.

use crate::Case;

pub(crate) mod block;
mod capacity;
pub(crate) mod container;
mod dump;
mod family;
mod figures;
mod hostile;
pub(crate) mod lifecycle;
pub(crate) mod limits;
pub(crate) mod log;
mod names;
mod rest;
pub(crate) mod rights;
mod service;
pub(crate) mod stacked;
mod switches;

pub(crate) fn all() -> Vec<Case> {
    [
        switches::CASES,
        block::CASES,
        stacked::CASES,
        capacity::CASES,
        lifecycle::CASES,
        family::CASES,
        limits::CASES,
        hostile::CASES,
        figures::CASES,
        names::CASES,
        rest::CASES,
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
