//! The program: parse, run, exit code.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    m8refsvr_agent::commands::run()
}
