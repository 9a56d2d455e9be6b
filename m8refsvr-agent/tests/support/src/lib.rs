//! What the tests, the benches and the demonstration share. It is never installed.
//!
//! - [`load`]: the processes that they start, monitor and measure, and the commands that these processes follow
//! - [`case`]: tests that need something of the machine
//! - [`files`]: the files of a folder
//! - [`machine`]: what a machine may lack
//! - [`surroundings`]: mounts, mode of new files and language, set up by the tests themselves

pub mod case;
pub mod files;
pub mod load;
pub mod machine;
pub mod surroundings;
