//! The program: parse, run, exit code.

#![forbid(unsafe_code)]

use std::{process::ExitCode, time::SystemTime};

use m8refsvr_agent::{cli, commands, sys::heap};

fn main() -> ExitCode {
    let started = SystemTime::now();
    heap::begin();
    let parsed = match cli::parse() {
        Ok(parsed) => parsed,
        Err(error) => return commands::wrong_usage(&error),
    };
    commands::run(&parsed, started).unwrap_or_else(|error| commands::failed(&error))
}
