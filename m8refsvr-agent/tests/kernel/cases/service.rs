//! The agent with the rights that the service has, as a user of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use m8refsvr_test_support::load::ARGUMENT;
use rustix::thread::CapabilitySet;

use crate::{
    Case,
    Need::Bpf,
    load::{Programs, own},
    release,
};

pub(crate) const CASES: &[Case] = &[LEAST_RIGHTS];

/// For what comes within milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "@_sv";
/// Of nobody.
const USER: u32 = 65534;
/// Those of the unit.
const CAPABILITIES: &str = "BPF,PERFMON,SYS_PTRACE,DAC_READ_SEARCH";

/// A process that ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LEAST_RIGHTS: Case = Case::new(
    "with the service's rights alone the agent counts, and gives up what it needs no more",
    &[Bpf],
    least_rights,
);

fn least_rights() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where another user can execute it.
    let program = folder.path().join("m8refsvr-agent");
    fs::copy(env!("CARGO_BIN_EXE_m8refsvr-agent"), &program).unwrap();
    let agent = Command::new(std::env::current_exe().unwrap())
        .args([ARGUMENT, "setuid-keeping", &USER.to_string(), CAPABILITIES, "exec-other"])
        .arg(&program)
        .args(["--ebpf", "require", "--interval", "86400", "--agent-host", "127.0.0.1", "--agent-port", "9"])
        // One more than there may be at once is not seen in time, so that each must have given its slot back.
        .args(["--max-tracked-processes", "2", "--process", &own(NAME)])
        .current_dir("/")
        .stderr(Stdio::piped())
        .spawn();
    let mut agent = Running(agent.unwrap());
    let (sender, printed) = mpsc::channel();
    let log = BufReader::new(agent.0.stderr.take().unwrap()).lines();
    thread::spawn(move || log.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let wait_for = |text: &str| {
        let mut lines: Vec<String> = Vec::new();
        while !lines.last().is_some_and(|line| line.contains(text)) {
            let line = printed.recv_timeout(PATIENCE);
            lines.push(
                line.unwrap_or_else(|error| panic!("waited for {text:?}: {error}; it logged {lines:?}")),
            );
        }
    };
    wait_for("No processes found");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.0.id())).unwrap();
    assert!(status.contains(&format!("\nUid:\t{USER}\t{USER}\t")), "{status}");
    let programs = Programs::new(&[NAME]);
    for code in 1..=5 {
        let mut child: Child = programs.command(NAME, &format!("exit {code}")).spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        wait_for(&format!("(pid {pid}) exited with code {code}"));
    }
    let kept = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    let mut collecting = 0;
    for (name, held) in threads(agent.0.id()) {
        if name == "m8refsvr-agent" {
            collecting += 1;
            // Some kernels want CAP_BPF for whatever is done to maps.
            let maps = if maps_need_rights() { CapabilitySet::BPF } else { CapabilitySet::empty() };
            assert_eq!(held, kept | maps, "{name}");
        } else {
            assert_eq!(held, CapabilitySet::DAC_READ_SEARCH, "{name}");
        }
    }
    assert_eq!(collecting, 1);
}

/// Whether a process without `CAP_BPF` may not even use maps that it has, or could lose them at any time.
fn maps_need_rights() -> bool {
    release() < [5, 19]
}

/// The threads of a process, each with the capabilities that it may use.
fn threads(pid: u32) -> Vec<(String, CapabilitySet)> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let statuses = entries.map(|entry| fs::read_to_string(entry.unwrap().path().join("status")).unwrap());
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    let threads = statuses.map(|status| {
        let held = u64::from_str_radix(&field(&status, "CapPrm:"), 16).unwrap();
        assert_eq!(field(&status, "CapPrm:"), field(&status, "CapEff:"));
        (field(&status, "Name:"), CapabilitySet::from_bits_retain(held))
    });
    threads.collect()
}
