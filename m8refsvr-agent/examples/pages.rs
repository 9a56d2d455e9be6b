//! Writes the man pages and the completions for bash, zsh and fish into a folder: `pages DIR`. They come from the
//! command line's own definition, so that they can't say anything else than `--help`.

use std::{env, io, path::PathBuf};

use clap_complete::{Shell, generate_to};

const NAME: &str = "m8refsvr-agent";

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: pages DIR"))?;
    let command = m8refsvr_agent::cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command.clone(), NAME, &folder)?;
    }
    // A page that tells of `help` would tell nothing else.
    clap_mangen::generate_to(command.disable_help_subcommand(true), &folder)
}
