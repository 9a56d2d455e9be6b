//! The program as users start it, with and without rights.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Output, Stdio},
};

use m8refsvr_agent::model::counters::Counter;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use serde_json::Value;

use crate::{
    Case,
    Need::{Bpf, BpfFs, UserNamespace},
    load::Load,
};

pub(crate) const CASES: &[Case] = &[
    AS_ROOT,
    AS_ORDINARY_USER,
    REQUIRED_BUT_REFUSED,
    CHECKED,
    CONFINED,
    PROC_ELSEWHERE,
    PROC_OF_OTHERS,
    HIDDEN,
];

const NOBODY: u32 = 65534;

fn agent(arguments: &[&str], user: Option<u32>) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where another user can execute it.
    let program = folder.path().join("m8refsvr-agent");
    fs::copy(env!("CARGO_BIN_EXE_m8refsvr-agent"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(arguments).current_dir("/");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.output().unwrap()
}

const AS_ROOT: Case =
    Case::new("as root the program counts in the kernel and reads everything", &[Bpf], as_root);

fn as_root() {
    let _actor = Load::start("M8RefSvr_root");
    let output = agent(
        &["--once", "--no-export", "--process", "M8RefSvr_root", "--sample", "0.1", "--ebpf", "require"],
        None,
    );
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["agent"]["sources"]["context_switches"], "raw_tracepoint");
    assert_eq!(document["agent"]["warnings"], serde_json::json!([]));
    // Which limits there are depends on the machine.
    let unlimited = |metrics: &Value| -> BTreeSet<String> {
        let names = metrics.as_object().unwrap().keys();
        names.filter(|name| !name.ends_with("_limit_usage")).cloned().collect()
    };
    let counters = Counter::ALL.iter().map(|counter| counter.key());
    let others =
        ["cpu_usage", "memory_rss", "memory_vms", "memory_usage", "thread_count", "open_file_descriptors"];
    let of_process: BTreeSet<String> = counters.chain(others).map(str::to_owned).collect();
    assert_eq!(unlimited(&document["processes"][0]["metrics"]), of_process);
    let of_group: BTreeSet<String> = of_process.into_iter().chain(["process_count".to_owned()]).collect();
    assert_eq!(unlimited(&document["metrics"]), of_group);
}

const AS_ORDINARY_USER: Case =
    Case::new("an ordinary user gets what can be read and one warning", &[], as_ordinary_user);

fn as_ordinary_user() {
    let load = Load::start("M8RefSvr_other");
    let output =
        agent(&["--once", "--no-export", "--process", "M8RefSvr_other", "--sample", "0.1"], Some(NOBODY));
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(
        printed.contains("/proc alone") && printed.contains("CAP_BPF and CAP_PERFMON are missing"),
        "{printed}"
    );
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["agent"]["sources"]["context_switches"], "procfs");
    assert_eq!(document["agent"]["sources"]["block_io"], "none");
    assert_eq!(document["processes"][0]["pid"], load.pid());
    let metrics = &document["metrics"];
    for absent in ["disk_read_bytes", "disk_write_bytes", "block_read_bytes", "block_write_operations"] {
        assert_eq!(metrics.get(absent), None, "{absent}");
    }
    assert!(metrics["memory_rss"].as_u64().unwrap() > 0);
    assert!(metrics["voluntary_ctx_switches"].as_u64().unwrap() > 0);
    let warnings = document["agent"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = warnings[0].as_str().unwrap();
    assert!(
        warning.contains("disk_write_bytes") && warning.contains(" of 1 process: permission denied"),
        "{warning}"
    );
}

const REQUIRED_BUT_REFUSED: Case =
    Case::new("an ordinary user who requires BPF programs learns what is missing", &[], required_but_refused);

fn required_but_refused() {
    let output = agent(&["--once", "--sample", "0.1", "--ebpf", "require"], Some(NOBODY));
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{printed}");
    assert!(output.stdout.is_empty());
    assert!(printed.contains("CAP_BPF and CAP_PERFMON are missing; run as root, or give"), "{printed}");
}

/// Why there are no user namespaces.
pub(crate) fn reason_against_user_namespaces() -> Result<(), String> {
    let outcome = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    match outcome {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

const CONFINED: Case = Case::new(
    "in a user namespace of its own check says that capabilities are worth nothing",
    &[Bpf, UserNamespace],
    confined,
);

fn confined() {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", env!("CARGO_BIN_EXE_m8refsvr-agent")])
        .args(["check", "--ebpf", "require", "--agent-host", "127.0.0.1", "--agent-port", "9"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{text}");
    for (check, words) in [
        ("warning  capabilities", "of a user namespace, where capabilities count neither"),
        ("FAILURE  BPF programs", "no capability counts for BPF; run it outside"),
    ] {
        let line = text.lines().find(|line| line.starts_with(check)).unwrap();
        assert!(line.contains(words), "{line}");
    }
}

const HIDDEN: Case = Case::new("where /proc hides processes it is not known that none matches", &[], hidden);

fn hidden() {
    let _load = Load::start("M8RefSvr_hidden");
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    mount("proc", folder.path(), "proc", MountFlags::empty(), Some(c"hidepid=2")).unwrap();
    let root = folder.path().to_str().unwrap();
    let arguments =
        ["--once", "--no-export", "--process", "M8RefSvr_hidden", "--sample", "0.1", "--proc-root", root];
    let output = agent(&[&arguments[..], &["--ebpf", "off"]].concat(), Some(NOBODY));
    // Root sees it.
    let seen = agent(&[&arguments[..], &["--ebpf", "off"]].concat(), None);
    unmount(folder.path(), UnmountFlags::empty()).unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["metrics"], serde_json::json!({}), "{document:#}");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(printed.contains("other users' processes can't be seen"), "{printed}");
    let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!(seen["metrics"]["process_count"], 1);
}

const PROC_ELSEWHERE: Case =
    Case::new("a /proc that is mounted elsewhere is read there", &[Bpf], proc_elsewhere);

fn proc_elsewhere() {
    let mut load = Load::start("M8RefSvr_far");
    let folder = tempfile::tempdir().unwrap();
    // Seen by this process and its children alone.
    mount("proc", folder.path(), "proc", MountFlags::empty(), None).unwrap();
    let root = folder.path().to_str().unwrap();
    let output = agent(
        &["--once", "--no-export", "--process", "M8RefSvr_far", "--sample", "0.1", "--ebpf", "require"]
            .into_iter()
            .chain(["--proc-root", root])
            .collect::<Vec<_>>(),
        None,
    );
    unmount(folder.path(), UnmountFlags::empty()).unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["agent"]["warnings"], serde_json::json!([]));
    assert_eq!(document["processes"][0]["pid"], load.pid());
    assert_eq!(document["processes"][0]["metrics"]["open_file_descriptors"].as_u64().unwrap(), {
        load.run("");
        fs::read_dir(format!("/proc/{}/fd", load.pid())).unwrap().count() as u64
    });
}

const PROC_OF_OTHERS: Case = Case::new(
    "in the /proc of another PID namespace nothing is counted in the kernel",
    &[Bpf],
    proc_of_others,
);

fn proc_of_others() {
    let mut other = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "sh", "-c", "echo; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut begun = [0];
    other.stdout.take().unwrap().read_exact(&mut begun).unwrap();
    // `unshare` itself has the mounts of the new namespace.
    let root = format!("/proc/{}/root/proc", other.id());
    let output = agent(&["--once", "--no-export", "--ebpf", "require", "--proc-root", &root], None);
    drop(other.stdin.take());
    other.wait().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{printed}");
    assert!(printed.contains(&format!("{root} belongs to another PID namespace")), "{printed}");
}

const CHECKED: Case =
    Case::new("check names each hook, and what an ordinary user lacks", &[Bpf, BpfFs], checked);

fn checked() {
    let load = Load::start("M8RefSvr_seen");
    let lines = |user| {
        // Nobody listens there.
        let place = ["--process", "M8RefSvr_seen", "--agent-host", "127.0.0.1", "--agent-port", "9"];
        let output = agent(&[&["check", "--ebpf", "require"][..], &place].concat(), user);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().count() > 8, "{text}");
        (output.status.code(), text)
    };
    let (code, text) = lines(None);
    assert_eq!(code, Some(3), "{text}");
    for tracepoint in
        ["sched_switch", "sched_process_exit", "sched_process_exec", "block_getrq", "block_bio_backmerge"]
    {
        let line =
            text.lines().find(|line| line.contains("BPF programs") && line.contains(tracepoint)).unwrap();
        assert!(line.starts_with("ok  ") && line.contains("hooks by "), "{line}");
    }
    // A machine may know its users by their numbers alone.
    let root = m8refsvr_agent::proc::system::user_name(0).unwrap_or_else(|| "0".into());
    let process = format!("{} M8RefSvr_seen of {root}: ", load.pid());
    assert!(text.contains(&format!("{process}io, fd and exe can be read")), "{text}");
    assert!(text.starts_with("not ready (1 failure"), "{text}");
    let last = text.lines().rfind(|line| line.starts_with("FAILURE")).unwrap();
    assert!(
        last.starts_with("FAILURE  connection") && last.contains("127.0.0.1:9: connection refused"),
        "{last}"
    );

    let (code, text) = lines(Some(NOBODY));
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("without CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH"), "{text}");
    assert!(text.contains("FAILURE  BPF programs"), "{text}");
    // The tests' own may be read by anybody; systemd's may not.
    let before = fs::metadata("/sys/fs/bpf").unwrap().permissions();
    fs::set_permissions("/sys/fs/bpf", fs::Permissions::from_mode(0o700)).unwrap();
    let (_, text) = lines(Some(NOBODY));
    fs::set_permissions("/sys/fs/bpf", before).unwrap();
    assert!(text.contains("cannot read /sys/fs/bpf: ") && text.contains("running agent: root can"), "{text}");
    let line = text.lines().find(|line| line.contains(&process)).unwrap();
    assert!(
        line.starts_with("warning") && line.contains("io, ") && line.contains("exe can't be read"),
        "{line}"
    );
}
