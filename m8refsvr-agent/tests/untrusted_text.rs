//! Processes that mean harm by how they are called. Whatever is in a name or an argument, a log has the lines that the
//! agent wrote, JSON means what it should, and a terminal gets nothing but text. Needs no rights.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, pipe},
    os::{
        linux::fs::MetadataExt as _,
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A line of a log, a title and a colour of the terminal, the same by one character of C1, an end of a line and a turn
/// of the direction in Unicode, what ends a string, and what is no text.
const HARM: &[u8] =
    b"\n1970-01-01T00:00:00Z ERROR forged\x1b]0;x\x07\x1b[31m\xc2\x9b2J\xe2\x80\xa8\xe2\x80\xae\x7f\r\"\\'{}\xff";

/// The largest argument that the kernel takes: `MAX_ARG_STRLEN` in `include/uapi/linux/binfmts.h`, with its end.
const LARGEST: usize = 131_072 - 1;

/// A process with such a name, and with more than 1 MiB of such arguments.
struct Hostile {
    process: Child,
    /// A part of its name that no other process has.
    own: String,
    name: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Hostile {
    fn start(own: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = format!("{own}{}", std::process::id());
        let name = [own.as_bytes(), HARM].concat();
        let program = folder.path().join(OsStr::from_bytes(&name));
        fs::copy("/bin/sh", &program).unwrap();
        let argument: Vec<u8> = HARM.iter().copied().cycle().take(LARGEST).collect();
        let argument = OsStr::from_bytes(&argument);
        let mut command = Command::new(program);
        command.arg0(argument).args(["-c", "echo; read line"]).args([argument; 8]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Once it says something, it has its name and its arguments.
        process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self { process, own, name, _folder: folder }
    }

    /// Its name, as far as it is text.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    fn end(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.end();
    }
}

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m8refsvr-agent"));
    command.args(arguments).args(["--ebpf", "off"]).env_clear();
    command
}

/// All that an agent says on standard error from before the process is found until after it has ended. `own` is to be
/// part of no other process's name.
fn printed(own: &str, arguments: &[&str], is_journal: bool) -> (Hostile, String) {
    let mut hostile = Hostile::start(own);
    let (reader, writer) = pipe().unwrap();
    let mut reader = File::from(std::os::fd::OwnedFd::from(reader));
    let quick =
        ["--interval", "0.1", "--log-level", "debug", "--agent-host", "127.0.0.1", "--agent-port", "1"];
    let mut command = agent(&[&quick, arguments, &["--process", &hostile.own]].concat());
    if is_journal {
        let metadata = reader.metadata().unwrap();
        command.env("JOURNAL_STREAM", format!("{}:{}", metadata.st_dev(), metadata.st_ino()));
    }
    let mut process = command.stderr(writer).spawn().unwrap();
    drop(command);
    let mut printed = Vec::new();
    let mut read_until = |text: &str| {
        while !String::from_utf8_lossy(&printed).contains(text) {
            let mut piece = [0; 4096];
            let length = reader.read(&mut piece).unwrap();
            assert!(length > 0 && printed.len() < 10 << 20, "{text:?} is not in the log");
            printed.extend_from_slice(&piece[..length]);
        }
    };
    read_until("1 process matches");
    hostile.end();
    read_until(" exited for an unknown reason after ");
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    reader.read_to_end(&mut printed).unwrap();
    assert!(process.wait().unwrap().success());
    (hostile, String::from_utf8(printed).unwrap())
}

/// Whether nothing in a text does more than end its lines.
fn is_plain(text: &str) -> bool {
    let acts = |it: char| it.is_control() || ('\u{2028}'..='\u{202e}').contains(&it);
    !text.chars().any(|it| acts(it) && it != '\n')
}

/// The line about the exit, of lines that all begin as those of the agent do.
fn line_of_end(printed: &str, begins: impl Fn(&str) -> bool) -> &str {
    assert!(is_plain(printed), "{printed:?}");
    assert!(printed.lines().all(begins), "{printed}");
    printed.lines().find(|line| line.contains(" exited for an unknown reason after ")).unwrap()
}

#[test]
fn a_log_of_text_has_the_agents_lines_alone() {
    let (_, printed) = printed("M8text", &[], false);
    let line = line_of_end(&printed, |line| line.starts_with("20") && !line.starts_with("1970"));
    assert!(line.contains(r"\n1970-01-01T00:00:00Z ERROR forged\u{1b}]0;x"), "{line}");
    assert!(line.contains(r"\u{9b}2J\u{2028}\u{202e}"), "{line}");
}

#[test]
fn the_journal_gets_the_agents_lines_alone_and_their_priorities() {
    let (_, printed) = printed("M8journal", &[], true);
    let line = line_of_end(&printed, |line| line.starts_with('<') && line.get(2..3) == Some(">"));
    assert!(line.starts_with("<6>M8journal") && line.contains(r"\n1970"), "{line}");
}

#[test]
fn a_log_of_json_means_the_name_as_it_is() {
    let (hostile, printed) = printed("M8json", &["--log-format", "json"], false);
    let line = line_of_end(&printed, |line| serde_json::from_str::<Value>(line).is_ok());
    let line: Value = serde_json::from_str(line).unwrap();
    assert!(line["message"].as_str().unwrap().starts_with(&hostile.text()), "{line}");
}

#[test]
fn the_document_means_the_name_as_it_is_and_a_terminal_takes_no_harm() {
    let hostile = Hostile::start("M8once");
    let flags = ["--once", "--no-export", "--sample", "0.01", "--process", &hostile.own];
    let output = agent(&flags).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (out, printed) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(is_plain(&out) && is_plain(&printed), "{out:?} {printed:?}");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["processes"][0]["name"], hostile.text());
    assert_eq!(document["metrics"]["process_count"], 1);
}

#[test]
fn what_the_user_typed_is_shown_as_plainly() {
    let flags =
        ["--once", "--no-export", "--sample", "0.01", "--process", "no-such\u{1b}[31m\u{9b}\u{202e}\nx"];
    let output = agent(&flags).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(is_plain(&String::from_utf8(output.stdout).unwrap()));
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        printed,
        "m8refsvr-agent: No processes found matching 'no-such\\u{1b}[31m\\u{9b}\\u{202e}\\nx'\n"
    );
}
