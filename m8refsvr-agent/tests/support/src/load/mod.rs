//! The load: processes that do what tests, benches and the demonstration want of them. It is the program that starts
//! them, again, under another name, with [`ARGUMENT`] as its first argument. The further arguments are a script:
//! commands that it follows one after the other until it ends. With `follow-lines` it reads a script from each line of
//! its input.
//!
//! | command | what the process does |
//! |---|---|
//! | `burn-cpu MS` | computes until it has used so much more CPU time |
//! | `spin MS` | computes for so long |
//! | `sleep MS` | sleeps |
//! | `nap TIMES` | sleeps for 500 µs, so often |
//! | `cpu-time` | prints the CPU time that it has used, milliseconds |
//! | `context-switches` | prints its voluntary and involuntary context switches, by `getrusage` |
//! | `threads N` | starts so many threads that wait until the process ends |
//! | `threads-up-to N` | the same, as many as the machine lets it have |
//! | `burn-cpu-threads N` | starts so many threads that compute until the process ends |
//! | `burn-cpu-on CPU` | starts a thread that computes on this CPU, before all others, until the process ends |
//! | `switch THREADS TIMES` | so many threads wait and compute in turns, so often, and end |
//! | `start-switching THREADS` | the same without an end |
//! | `stop-switching` | ends them, and waits for them |
//! | `repeat SCRIPT` | starts a thread that follows the script, one argument, again and again |
//! | `end-leader` | ends the first thread; another follows the commands that come |
//! | `fork` | a child follows the commands that come; the parent waits for it, and ends |
//! | `detach` | a child follows the commands that come; the parent ends |
//! | `fork-write BYTES` | a child writes; the parent waits for it |
//! | `fork-write-unwaited BYTES` | a child writes; the parent lets the kernel wait for it, see `ignore-sigchld`, and prints the bytes of pages that the child made dirty |
//! | `ignore-sigchld` | has the kernel wait for its children |
//! | `setsid` | begins a session of its own |
//! | `exec PROGRAM` | executes this program, which follows the commands that come |
//! | `exec-from-thread PROGRAM` | the same by a thread that is not the first |
//! | `exec-other PROGRAM ...` | executes another program, with the arguments that come |
//! | `spawn PROGRAM` | a child executes this program, as with `exec`; the parent waits for it, and ends |
//! | `spawn-counted PROGRAM` | the same; the parent then prints the child's context switches |
//! | `exit CODE` | ends |
//! | `raise SIGNAL` | sends a signal to itself, by number |
//! | `rename NAME` | gives its first thread a name |
//! | `rename-often TIMES` | the same with many names |
//! | `write BYTES` | writes a file in the current folder through the page cache, and removes it |
//! | `write-synced BYTES` | the same, on the disk before it goes on |
//! | `write-direct THREADS BLOCKS` | threads write files of so many blocks ([`BLOCK`]) past the page cache |
//! | `rewrite-direct THREADS TIMES BYTES` | threads write the same few bytes of files past the page cache |
//! | `overwrite-direct PATH BLOCKS` | writes so many blocks to one file or device past the page cache |
//! | `read-direct PATH` | reads a file past the page cache |
//! | `open-files N` | opens `/dev/null` so often |
//! | `open-pipes-and-sockets N` | opens so many pipes and pairs of sockets: four descriptors each |
//! | `close-files` | closes what these two opened |
//! | `allocate MIB` | writes to so much memory, and gives it back |
//! | `chdir FOLDER` | goes into a folder |
//! | `join-cgroup FOLDER` | goes into a control group |
//! | `setuid UID` | becomes this user |
//! | `setuid-keeping UID CAPABILITIES` | the same, and keeps these capabilities, also through `exec` |
//! | `limit-processes N` | limits the processes of its user |
//! | `unlimited-core` | lets core files have any size |
//! | `exit-after MS` | ends after this time, whatever it does |
//! | `ready` | prints an empty line |
//! | `wait-input` | waits until a byte can be read from its input, or the input ends |
//! | `follow-lines` | follows the commands of each line, and then prints `done`, until the input ends |

mod descriptors;
mod files;
mod interpreter;
mod processes;
mod programs;
mod rights;
mod threads;
mod usage;

use std::{
    env::{self, ArgsOs},
    iter::Skip,
    process::ExitCode,
};

pub use files::BLOCK;
pub use programs::{LoadProcess, Programs};
pub use usage::{Usage, no_process_starts};

/// The first argument by which a program knows that it is the load.
pub const ARGUMENT: &str = "load";

/// Follows the script of the command line if this process is the load. Every program that starts one calls it first.
#[must_use]
pub fn main() -> Option<ExitCode> {
    // The name of the program may be no text.
    let mut arguments = env::args_os().skip(1);
    let script = |arguments: Skip<ArgsOs>| arguments.map(|word| word.to_string_lossy().into_owned());
    (arguments.next()? == ARGUMENT).then(|| interpreter::main(script(arguments).collect()))
}
