//! The controllers whose limits are read, and the kinds of hierarchies that have them.

/// A controller whose limits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// `pids`: threads.
    Pids,
    /// `memory`.
    Memory,
}

impl Controller {
    /// The kernel's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pids => "pids",
            Self::Memory => "memory",
        }
    }
}

/// A kind of hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// The one of version 2, with all of its controllers.
    Unified,
    /// The one of version 1 that has this controller.
    Legacy(Controller),
}
