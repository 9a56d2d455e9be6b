//! What the agent needs, tried one thing after the other, with what to do where it is missing. Each file has one
//! subject; none prints.

mod finding;
mod hooks;
mod host;
mod processes;
mod receiver;
pub mod service;
pub mod settings;
mod verdict;

pub use finding::{Finding, Mark};
pub use hooks::hooks;
pub use host::host;
pub use processes::{Processes, processes};
pub use receiver::{Exports, receiver};
pub use verdict::{Exported, verdict};
