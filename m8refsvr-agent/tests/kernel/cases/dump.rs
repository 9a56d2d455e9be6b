//! The dump of the maps: of this test's own agent, of none, and of one that died.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use m8refsvr_agent::bpf::{Options, pins};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    Case,
    Need::{Bpf, BpfFs, Disk},
    collecting::{collector_with, document, metrics},
    counted::Counted as _,
    load::Load,
};

pub(crate) const CASES: &[Case] = &[
    AGREES,
    ALONE,
    WITHOUT_BPF_FS,
    NO_PINS_AFTER_SIGNAL,
    NO_PINS_AFTER_MONITORING,
    PINS_OF_KILLED,
    FOLDERS_OF_OTHERS,
];

const BPF_FS: &str = "/sys/fs/bpf";

fn dump(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_m8refsvr-agent"))
        .args(["debug", "dump"])
        .args(arguments)
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const AGREES: Case =
    Case::new("the dump of a running agent agrees with its document", &[Bpf, BpfFs, Disk], agrees);

fn agrees() {
    let mut load = Load::start("M8RefSvr_dump");
    let options = Options { capacity: 16, ..Options::default() };
    let mut collector = collector_with("M8RefSvr_dump", &options);
    let first = collector.collect().unwrap();
    load.run("write-direct 2 5");
    load.run("switch 4 20");
    // The same before and after the dump is the same at its moment.
    let (dumped, document) = (0..100)
        .find_map(|_| {
            let before = collector.collect().unwrap();
            let dumped = json(&dump(&["--json", "--agent", &std::process::id().to_string()]));
            let after = collector.collect().unwrap();
            let same = before.processes[0].switches() == after.processes[0].switches();
            same.then(|| (dumped, document(&collector, &first, &after)))
        })
        .expect("the process is idle");
    assert_eq!(dumped["agent"]["running"], true);
    assert_eq!(dumped["settings"]["max_tracked_processes"], 16);
    assert_eq!(dumped["settings"]["context_switches"], document["agent"]["sources"]["context_switches"]);
    let target = &dumped["tracked_processes"][0];
    assert_eq!(target["pid"], load.pid());
    assert_eq!((&target["recorded_pid"], &target["name"]), (&load.pid().into(), &"M8RefSvr_dump".into()));
    let shown = metrics(&document, load.pid());
    for (name, total) in target["totals"].as_object().unwrap() {
        assert_eq!(*total, shown[name], "{name}");
        let sum: i64 = target["cpus"].as_array().unwrap().iter().map(|cpu| cpu[name].as_i64().unwrap()).sum();
        assert_eq!(target["sum"][name], sum, "{name}");
        assert_eq!(*total, sum + target["baseline"][name].as_i64().unwrap(), "{name}");
    }
    assert_eq!(target["totals"]["block_write_bytes"], 10 << 20);
    let table = dump(&["--agent", &std::process::id().to_string()]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains(&format!("{}", 10 << 20)), "{table}");
    assert!(table.contains(&format!("{} M8RefSvr_dump ", load.pid())), "{table}");
}

const ALONE: Case =
    Case::new("without an agent the dump loads BPF programs of its own", &[Bpf, BpfFs], alone);

fn alone() {
    let load = Load::start("M8RefSvr_alone");
    let output = dump(&["--json", "--process", "M8RefSvr_alone", "--sample", "0.1"]);
    let dumped = json(&output);
    assert_eq!(dumped["agent"]["running"], false);
    assert_eq!(dumped["tracked_processes"][0]["pid"], load.pid());
    assert_eq!(dumped["drops"]["no_free_slot"], 0);
    assert_eq!(dump(&["--agent", "1"]).status.code(), Some(2));
}

const WITHOUT_BPF_FS: Case = Case::new(
    "without a BPF file system the dump says how to mount one and loads its own programs",
    &[Bpf],
    without_bpf_fs,
);

fn without_bpf_fs() {
    let output = dump(&["--json", "--process", "M8RefSvr_none", "--sample", "0.1", "--bpf-fs", "/proc"]);
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(printed.contains("mount -t bpf -o mode=0700 bpf /proc"), "{printed}");
    assert!(printed.contains("can't be found") && !printed.contains("no agent is running"), "{printed}");
    assert_eq!(json(&output)["tracked_processes"], serde_json::json!([]));
}

/// Starts an agent that samples for a minute, and returns once it has collected.
fn collecting_agent() -> std::process::Child {
    agent_that(&["--once", "--no-export", "--sample", "60"], "first collection")
}

/// Starts an agent, and returns once it has logged something.
fn agent_that(arguments: &[&str], says: &str) -> std::process::Child {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_m8refsvr-agent"))
        .args(["--process", "M8RefSvr_none", "--log-level", "debug"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(agent.stderr.take().unwrap()).lines();
    assert!(printed.any(|line| line.unwrap().contains(says)));
    agent
}

fn pinned(pid: u32) -> bool {
    // Any folder of this process: `pins::running` skips dead ones.
    let folder = Path::new(BPF_FS).join("m8refsvr-0");
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(&format!("{pid}-")))
    })
}

const NO_PINS_AFTER_SIGNAL: Case = Case::new(
    "an agent that takes one document leaves no pins when a signal ends it",
    &[Bpf, BpfFs],
    no_pins_after_signal,
);

fn no_pins_after_signal() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut agent = collecting_agent();
        assert!(pinned(agent.id()));
        assert_eq!(pins::running(Path::new(BPF_FS)).unwrap().len(), 1);
        kill_process(Pid::from_child(&agent), signal).unwrap();
        assert_eq!(agent.wait().unwrap().code(), Some(code));
        assert!(!pinned(agent.id()));
    }
}

const NO_PINS_AFTER_MONITORING: Case = Case::new(
    "an agent that monitors leaves no pins when a signal ends it",
    &[Bpf, BpfFs],
    no_pins_after_monitoring,
);

fn no_pins_after_monitoring() {
    for signal in [Signal::TERM, Signal::INT] {
        // Nobody listens there.
        let mut agent = agent_that(&["--agent-host", "127.0.0.1", "--agent-port", "1"], "processes in ");
        assert!(pinned(agent.id()));
        assert_eq!(pins::running(Path::new(BPF_FS)).unwrap().len(), 1);
        kill_process(Pid::from_child(&agent), signal).unwrap();
        assert_eq!(agent.wait().unwrap().code(), Some(0));
        assert!(!pinned(agent.id()));
    }
}

const PINS_OF_KILLED: Case = Case::new(
    "the pins of an agent that was killed are skipped and removed by the next",
    &[Bpf, BpfFs],
    pins_of_killed,
);

fn pins_of_killed() {
    let mut agent = collecting_agent();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(pinned(agent.id()));
    assert_eq!(pins::running(Path::new(BPF_FS)).unwrap(), []);
    let dumped = json(&dump(&["--json", "--process", "M8RefSvr_none", "--sample", "0.1"]));
    assert_eq!(dumped["agent"]["running"], false);
    let mut next = collecting_agent();
    assert!(pinned(next.id()) && !pinned(agent.id()));
    kill_process(Pid::from_child(&next), Signal::TERM).unwrap();
    next.wait().unwrap();
}

const FOLDERS_OF_OTHERS: Case = Case::new(
    "folders and links that others put among the pins are left alone",
    &[Bpf, BpfFs],
    folders_of_others,
);

/// Everybody may write to a BPF file system without a mode: what others put there is left alone.
fn folders_of_others() {
    let (victim, folder) = (tempfile::tempdir().unwrap(), Path::new(BPF_FS).join("m8refsvr-0"));
    let file = victim.path().join("SLOTS");
    std::fs::write(&file, "precious").unwrap();
    // A link in the place of root's folder, and then one in the place of an agent's.
    std::os::unix::fs::symlink(victim.path(), &folder).unwrap();
    let options = Options { capacity: 1, ..Options::default() };
    let problem =
        || collector_with("M8RefSvr_none", &options).kernel().unwrap().pin_problem().map(ToString::to_string);
    assert!(problem().unwrap().contains("belongs to another user"));
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(65534), None).unwrap();
    assert!(problem().unwrap().contains("belongs to another user"));
    std::os::unix::fs::chown(&folder, Some(0), None).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let namespace = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("/proc/self/ns/pid").unwrap());
    let dead = folder.join(format!("1-1-{namespace}"));
    std::os::unix::fs::symlink(victim.path(), &dead).unwrap();
    assert!(problem().is_some());
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    std::fs::remove_file(&dead).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    assert_eq!(problem(), None);
}
