//! Installations by root: a service of the system.

mod failure;
mod folder;
mod foreign_files;
mod installation;
mod package;
mod removal;
mod service;
mod upgrade;

use crate::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    [
        installation::CASES,
        upgrade::CASES,
        failure::CASES,
        removal::CASES,
        foreign_files::CASES,
        folder::CASES,
        package::CASES,
    ]
    .concat()
}
