//! The DaemonSet in a container of its own: the image's files and the manifest's settings, taken over one by one, in
//! the hands of runc, which is what containerd and CRI-O start containers with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use m8refsvr_test_support::machine::pids_cgroup;

use crate::{
    Case,
    Need::{Bpf, Runc, ThreadGroup},
    cases::limits::Group,
    load::Load,
};

pub(crate) const CASES: &[Case] = &[AS_THE_DAEMONSET_SAYS];

const NAME: &str = "M8RefSvr_host";

/// The program runc, as `cargo xtask test` says.
pub(crate) fn runc() -> Result<PathBuf, String> {
    let path = std::env::var("M8REFSVR_RUNC")
        .map_err(|_| "M8REFSVR_RUNC does not say where runc is; `cargo xtask test` installs it")?;
    fs::metadata(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(path.into())
}

const AS_THE_DAEMONSET_SAYS: Case = Case::new(
    "a container as the DaemonSet describes it counts what a process of the host does",
    &[Bpf, Runc, ThreadGroup],
    as_the_daemonset_says,
);

fn as_the_daemonset_says() {
    let group = Group::new(&pids_cgroup().unwrap());
    fs::write(group.0.join("pids.max"), "12").unwrap();
    let mut load = Load::start(NAME);
    fs::write(group.inner().join("cgroup.procs"), load.pid().to_string()).unwrap();
    load.run("start-switching 2");
    let before = load.switches();
    let document = run(&["--once", "--no-export", "--ebpf", "require", "--process", NAME]);
    let after = load.switches();
    load.run("stop-switching");

    let sources = &document["agent"]["sources"];
    for signal in ["context_switches", "block_io", "lifecycle"] {
        assert_eq!(sources[signal], "raw_tracepoint", "{signal}");
    }
    assert_eq!(document["agent"]["warnings"], json!([]));
    let machine_id = fs::read_to_string("/etc/machine-id").unwrap();
    assert_eq!(document["host"]["id"], machine_id.trim());
    let processes = document["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 1, "{document}");
    // By its id on the host.
    assert_eq!(processes[0]["pid"], load.pid());
    let metrics = &processes[0]["metrics"];
    for (figure, low, high) in [
        ("voluntary_ctx_switches", before.voluntary, after.voluntary),
        ("nonvoluntary_ctx_switches", before.involuntary, after.involuntary),
    ] {
        let counted = metrics[figure].as_u64().unwrap();
        assert!((low..=high).contains(&counted), "{figure}: {counted} is not in {low}..={high}");
    }
    // A control group that is above the container's own, and beside it.
    assert_eq!(metrics["cgroup_pids_limit_usage"], 0.25);
    // What takes the rights to look into another process.
    for figure in ["open_file_descriptors", "disk_read_bytes", "open_files_limit_usage"] {
        assert!(metrics[figure].is_number(), "{figure} is absent: {document}");
    }
}

/// Runs the image with the manifest's arguments and these, to the document that it prints.
fn run(arguments: &[&str]) -> Value {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/kubernetes");
    let bundle = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = bundle.path().join("rootfs");
    let made = Command::new(packaging.join("image-root.sh"))
        .arg(env!("CARGO_BIN_EXE_m8refsvr-agent"))
        .arg(&root)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let manifest = fs::read_to_string(packaging.join("daemonset.yaml")).unwrap();
    let manifest: Value = serde_yaml_ng::from_str(&manifest).unwrap();
    let mut settings = settings(&manifest["spec"]["template"]["spec"]);
    settings["process"]["args"].as_array_mut().unwrap().extend(arguments.iter().map(|&word| word.into()));
    fs::write(bundle.path().join("config.json"), settings.to_string()).unwrap();

    let output = Command::new(runc().unwrap())
        .arg("--root")
        .arg(bundle.path().join("state"))
        .args(["run", "--bundle"])
        .arg(bundle.path())
        .arg(format!("m8refsvr-{}", std::process::id()))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*printed), (Some(0), ""));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a kubelet and its runtime make of a pod with one container, where this program knows how; it refuses what it
/// does not know. Fields and their meaning: OCI runtime specification, `config.md` and `config-linux.md`.
fn settings(pod: &Value) -> Value {
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["privileged"], false);
    assert_eq!(
        security["capabilities"]["drop"],
        json!(["ALL"]),
        "what a runtime adds by itself is taken away"
    );
    let capabilities = &security["capabilities"]["add"];
    assert_eq!(*capabilities, json!(["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"]), "and no others");
    let capabilities: Vec<String> = texts(capabilities).map(|it| format!("CAP_{it}")).collect();
    // Those of root after it has executed the program.
    let capabilities = json!({
        "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
    });

    let mut kinds = vec!["mount", "uts", "ipc", "network", "cgroup"];
    if pod["hostPID"] != true {
        kinds.push("pid");
    }
    let namespaces: Vec<Value> = kinds.into_iter().map(|kind| json!({ "type": kind })).collect();

    let volumes = pod["volumes"].as_array().unwrap();
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs" }),
    ];
    for mount in container["volumeMounts"].as_array().unwrap() {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        // Secrets are optional, and there are none.
        let Some(path) = volume["hostPath"]["path"].as_str() else { continue };
        assert_eq!(mount["readOnly"], true, "{path}");
        mounts.push(json!({
            "destination": mount["mountPath"], "type": "bind", "source": path, "options": ["rbind", "ro"],
        }));
    }

    let mut words = vec![Value::from("/usr/bin/m8refsvr-agent")];
    words.extend(texts(&container["args"]).map(Value::from));
    json!({
        "ociVersion": "1.0.2",
        "hostname": "pod",
        "root": { "path": "rootfs", "readonly": security["readOnlyRootFilesystem"] },
        "process": {
            "user": { "uid": security["runAsUser"], "gid": security["runAsGroup"] },
            "args": words,
            "cwd": "/",
            "capabilities": capabilities,
            "noNewPrivileges": security["allowPrivilegeEscalation"] == false,
        },
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|it| it.as_str().unwrap())
}
