//! Processes as they start, execute other programs, and exit. A process that matches by its `comm` gets a slot here, so
//! that its first context switch counts. What the kernel's accounting has of it at its end is written to the slot's
//! records. User space is notified, and gives the slot free when it has read them.

mod accounting;
pub(crate) mod exit;
mod slots;
pub(crate) mod start;
mod task;
