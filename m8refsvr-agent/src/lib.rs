//! The agent of m8refsvr. Data flows one way: `kernel` and `proc` → `sample` → `export`; `commands` drives it.

#![deny(unsafe_code)]

pub mod absence;
pub mod cli;
pub mod commands;
pub mod export;
pub mod kernel;
pub mod logging;
pub mod proc;
pub mod sample;
pub mod selector;
pub mod settings;
pub mod source;
