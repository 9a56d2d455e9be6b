//! The tests: of a service of the system, and of one of an ordinary user.

pub(crate) mod system;
pub(crate) mod user;
