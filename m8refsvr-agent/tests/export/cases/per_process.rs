//! A resource for each process: what it says, and that all of many arrive.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use m8refsvr_test_support::load::LoadProcess;
use m8refsvr_test_support::machine::memory_cgroup;
use procfs::process::Process;
use regex::Regex;

use crate::{
    Case,
    Need::{MemoryGroup, Mock, Nginx, Rotel},
    agent::{code_and_errors, command},
    load::Name,
    nginx,
    receiver::{Export, Kind, Receiver},
};

pub(crate) const CASES: &[Case] = &[
    RESOURCES_ROTEL_GRPC,
    RESOURCES_MOCK_HTTP,
    IN_CONTAINER,
    ONLY_WHEN_ASKED,
    TWO_THOUSAND_ROTEL_GRPC,
    TWO_THOUSAND_MOCK_HTTP,
];

/// A user with a name on every machine, and one without.
const NOBODY: u32 = 65534;
const NAMELESS: u32 = 54321;
/// The kernel shows starts of processes in ticks of 10 ms, and the start of the machine in seconds.
const CLOCKS: Duration = Duration::from_millis(1100);
const PID: &str = "process.pid";
const CREATION: &str = "process.creation.time";

/// All resources of one export.
fn exported(receiver: &Receiver, protocol: &str, name: &Name, more: &[&str]) -> Vec<Export> {
    let before = receiver.exports().len();
    let port = if protocol == "grpc" { receiver.grpc_port() } else { receiver.http_port() };
    let mut command = command(&["--once", "--sample", "0.01", "--protocol", protocol, "--per-process"]);
    command.args(["--process", name.text(), "--agent-host", "127.0.0.1", "--agent-port", &port.to_string()]);
    command.args(more).env("OTEL_SERVICE_NAME", "svc");
    assert_eq!(code_and_errors(&command.output().unwrap()), (Some(0), String::new()));
    receiver.exports().split_off(before)
}

/// The attributes of a process's resource that are about the process, as the kernel has them; but for its creation.
fn truth(pid: u32) -> BTreeMap<String, String> {
    let process = Process::new(pid.cast_signed()).unwrap();
    let status = process.status().unwrap();
    let exe = process.exe().unwrap();
    let uid = nix::unistd::Uid::from_raw(status.ruid);
    let user = nix::unistd::User::from_uid(uid).unwrap();
    let groups = process.cgroups().unwrap().0;
    let of_group = |is_it: fn(&procfs::ProcessCGroup) -> bool| {
        groups.iter().find(|group| is_it(group)).map(|group| group.pathname.clone())
    };
    let unified = of_group(|group| group.hierarchy == 0);
    let memory = of_group(|group| group.controllers.iter().any(|controller| controller == "memory"));
    let paths: Vec<String> = [unified, memory].into_iter().flatten().collect();
    let container = Regex::new("[0-9a-f]{64}").unwrap();
    let container = paths.iter().find_map(|path| container.find(path)).map(|id| id.as_str().to_owned());
    let known = [
        (PID, pid.to_string()),
        ("process.parent_pid", status.ppid.to_string()),
        ("process.executable.name", exe.file_name().unwrap().to_str().unwrap().to_owned()),
        ("process.executable.path", exe.to_str().unwrap().to_owned()),
        ("process.command", process.cmdline().unwrap().swap_remove(0)),
        ("process.owner", user.map_or_else(|| uid.to_string(), |user| user.name)),
        ("process.linux.cgroup", paths[0].clone()),
    ];
    let known = known.into_iter().chain(container.map(|id| ("container.id", id)));
    known.map(|(attribute, value)| (attribute.to_owned(), value)).collect()
}

fn is_of_process(attribute: &str) -> bool {
    attribute.starts_with("process.") || attribute.starts_with("container.")
}

/// Compares a process's resource with the kernel's word.
fn check(export: &Export, pid: u32) {
    let mut own = export.resource.clone();
    own.retain(|attribute, _| is_of_process(attribute));
    let created = humantime::parse_rfc3339(&own.remove(CREATION).expect("a time of creation")).unwrap();
    let ticks = Process::new(pid.cast_signed()).unwrap().stat().unwrap().starttime as f64;
    let since_boot = Duration::from_secs_f64(ticks / procfs::ticks_per_second() as f64);
    let started = UNIX_EPOCH + Duration::from_secs(procfs::boot_time_secs().unwrap()) + since_boot;
    assert!((started - CLOCKS..=started + CLOCKS).contains(&created), "{created:?}, {started:?}");
    assert_eq!(own, truth(pid));
    assert!(export.resource.contains_key("m8refsvr.group"), "{:?}", export.resource);
}

/// The exports of processes by their ids, and that of the agent's own resource.
fn by_pid(exports: Vec<Export>) -> (BTreeMap<u32, Export>, Export) {
    let mut of_processes = BTreeMap::new();
    let mut of_agent = Vec::new();
    for export in exports {
        match export.resource.get(PID) {
            Some(pid) => {
                let pid = pid.parse().unwrap();
                assert_eq!(of_processes.insert(pid, export), None, "{pid} has two resources");
            }
            None => of_agent.push(export),
        }
    }
    let of_agent = of_agent.into_iter().reduce(|mut all, next| {
        assert_eq!(all.resource, next.resource);
        all.points.extend(next.points);
        all
    });
    (of_processes, of_agent.expect("the agent's own"))
}

const RESOURCES_ROTEL_GRPC: Case =
    Case::new("each process is a resource with what the kernel says of it, over gRPC", &[Rotel], || {
        resources(Kind::Rotel, "grpc")
    });
const RESOURCES_MOCK_HTTP: Case =
    Case::new("each process is a resource with what the kernel says of it, over HTTP", &[Mock], || {
        resources(Kind::Mock, "http/protobuf")
    });

fn resources(kind: Kind, protocol: &str) {
    let receiver = Receiver::start(kind);
    let name = Name::new("resource");
    let mut processes: Vec<LoadProcess> = (0..5).map(|_| name.start()).collect();
    for (process, user) in processes.iter_mut().zip([NOBODY, NAMELESS]) {
        process.run(&format!("setuid {user}"));
    }
    let (exports, of_agent) = by_pid(exported(&receiver, protocol, &name, &[]));
    let pids: BTreeSet<u32> = processes.iter().map(LoadProcess::pid).collect();
    assert_eq!(exports.keys().copied().collect::<BTreeSet<_>>(), pids);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for (&pid, export) in &exports {
        check(export, pid);
        for (attribute, value) in [("service.name", "svc"), ("host.name", &host), ("os.type", "linux")] {
            assert_eq!(export.resource.get(attribute).map(String::as_str), Some(value), "{attribute}");
        }
        for attribute in of_agent.resource.keys() {
            assert_eq!(export.resource.get(attribute), of_agent.resource.get(attribute), "{attribute}");
        }
        assert_eq!(export.scopes, of_agent.scopes);
        let names: BTreeSet<&str> = export.points.iter().map(|point| point.name.as_str()).collect();
        for metric in ["process.cpu.time", "process.memory.usage", "process.disk.io", "process.uptime"] {
            assert!(names.contains(metric), "{metric}: {names:?}");
        }
        for point in &export.points {
            assert!(!point.attributes.keys().any(|attribute| is_own(attribute)), "{point:?}");
        }
    }
    // What is of the group stays there, and what is of processes is exported once.
    assert!(!of_agent.resource.keys().any(|attribute| is_of_process(attribute)), "{of_agent:?}");
    let of_group: BTreeMap<&str, f64> =
        of_agent.points.iter().map(|point| (point.name.as_str(), point.value)).collect();
    assert_eq!(of_group["m8refsvr.process.count"], 5.0);
    for metric in ["process.cpu.time", "process.memory.usage"] {
        assert_eq!(of_group.get(metric), None, "{metric}");
    }
    let of_processes: BTreeSet<&str> =
        exports.values().flat_map(|export| &export.points).map(|point| point.name.as_str()).collect();
    let both: Vec<_> = of_processes.iter().filter(|name| of_group.contains_key(**name)).collect();
    assert!(both.is_empty(), "{both:?}");
}

/// Whether it names a process, or says something of one; other attributes of points begin like that too.
fn is_own(attribute: &str) -> bool {
    ["process.pid", CREATION, "process.parent_pid", "process.owner", "process.linux.cgroup"]
        .contains(&attribute)
        || ["process.executable.", "process.command", "container."]
            .iter()
            .any(|start| attribute.starts_with(start))
}

/// Control groups as a runtime makes them, in every hierarchy that names containers; gone when dropped.
struct Container {
    groups: Vec<PathBuf>,
    id: String,
}

impl Container {
    fn new() -> Self {
        let id = format!("{:064x}", u128::from(std::process::id()) << 96 | 0xc0_ffee);
        let memory = memory_cgroup().unwrap().0;
        let unified = memory.with_file_name("unified");
        let roots = [memory, unified].into_iter().filter(|root| root.join("cgroup.procs").exists());
        let groups: Vec<PathBuf> = roots.map(|root| root.join(format!("docker-{id}.scope"))).collect();
        for group in &groups {
            fs::create_dir(group).unwrap();
        }
        Self { groups, id }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for group in &self.groups {
            // Only when all its processes have ended.
            let _ = fs::remove_dir(group);
        }
    }
}

const IN_CONTAINER: Case = Case::new(
    "a process in a container has the container's id in its resource",
    &[Mock, MemoryGroup],
    in_container,
);

fn in_container() {
    let receiver = Receiver::start(Kind::Mock);
    let name = Name::new("contained");
    let container = Container::new();
    // Dropped, and so ended, before the groups are removed.
    let (mut inside, outside) = (name.start(), name.start());
    for group in &container.groups {
        inside.run(&format!("join-cgroup {}", group.display()));
    }
    for protocol in ["grpc", "http/protobuf"] {
        let (exports, _) = by_pid(exported(&receiver, protocol, &name, &[]));
        check(&exports[&inside.pid()], inside.pid());
        check(&exports[&outside.pid()], outside.pid());
        let id = |process: &LoadProcess| exports[&process.pid()].resource.get("container.id").cloned();
        assert_eq!(id(&inside).as_ref(), Some(&container.id), "{protocol}");
        assert_ne!(id(&outside).as_ref(), Some(&container.id), "{protocol}");
    }
}

const ONLY_WHEN_ASKED: Case = Case::new(
    "arguments of processes and attributes of points are sent only when asked for",
    &[Mock],
    only_when_asked,
);

fn only_when_asked() {
    let receiver = Receiver::start(Kind::Mock);
    let name = Name::new("asked");
    let mut process = name.start();
    // Once it answers, the kernel has set its arguments.
    process.run("burn-cpu 1");
    let pid = process.pid();
    let line = Process::new(pid.cast_signed()).unwrap().cmdline().unwrap().join(" ");
    // Only what is no secret of a process is sent by itself.
    let secret = line.split_once(' ').unwrap().1;
    for (more, command_line, on_points) in [
        (&[][..], false, false),
        (&["--process-attributes", "resource"], false, false),
        (&["--process-attributes", "point"], false, true),
        (&["--with-command-line"], true, false),
        (&["--with-command-line", "--process-attributes", "point"], true, true),
    ] {
        for protocol in ["grpc", "http/protobuf"] {
            let exports = exported(&receiver, protocol, &name, more);
            let text = format!("{exports:?}");
            assert_eq!(text.contains(secret), command_line, "{more:?}: {text}");
            let (mut exports, _) = by_pid(exports);
            let mut export = exports.remove(&pid).unwrap();
            let sent = export.resource.remove("process.command_line");
            assert_eq!(sent.as_ref(), command_line.then_some(&line), "{more:?}");
            check(&export, pid);
            let executable = &export.resource["process.executable.name"];
            for point in &export.points {
                let mut own = point.attributes.clone();
                own.retain(|attribute, _| is_own(attribute));
                let expected = [(PID, pid.to_string()), ("process.executable.name", executable.clone())];
                let expected = expected.into_iter().filter(|_| on_points);
                let expected: BTreeMap<String, String> =
                    expected.map(|(attribute, value)| (attribute.to_owned(), value)).collect();
                assert_eq!(own, expected, "{more:?}: {point:?}");
            }
        }
    }
}

/// Metrics of processes, the value of their attribute, and the total in the earlier plugin's names, which is of the
/// same report.
const TOTALS: [(&str, &str, &str); 10] = [
    ("process.memory.usage", "", "memory_rss_total"),
    ("process.memory.virtual", "", "memory_vms_total"),
    ("process.thread.count", "", "thread_count"),
    ("process.unix.file_descriptor.count", "", "open_file_descriptors"),
    ("process.disk.io", "read", "disk_read_bytes"),
    ("process.disk.io", "write", "disk_write_bytes"),
    ("process.cpu.time", "user", "cpu_user_time_total"),
    ("process.cpu.time", "system", "cpu_system_time_total"),
    ("process.context_switches", "voluntary", "voluntary_ctx_switches"),
    ("process.context_switches", "involuntary", "nonvoluntary_ctx_switches"),
];

const TWO_THOUSAND_ROTEL_GRPC: Case =
    Case::new("two thousand resources arrive complete over gRPC, and add up to the totals", &[Rotel], || {
        two_thousand(Kind::Rotel, "grpc")
    });
const TWO_THOUSAND_MOCK_HTTP: Case = Case::new(
    "two thousand resources arrive complete over HTTP, and add up to the totals",
    &[Mock, Nginx],
    || two_thousand(Kind::Mock, "http/protobuf"),
);

fn two_thousand(kind: Kind, protocol: &str) {
    const COUNT: usize = 2000;
    let receiver = Receiver::start(kind);
    // rotel takes 4 MiB over gRPC and no more; over HTTP nginx is before the receiver for that.
    let (_nginx, port) = match protocol {
        "grpc" => (None, receiver.grpc_port()),
        _ => {
            let nginx = nginx::Nginx::taking_4_mebibytes(&receiver);
            let port = nginx.http_port();
            (Some(nginx), port)
        }
    };
    let name = Name::new("thousands");
    let processes: Vec<LoadProcess> = (0..COUNT).map(|_| name.start()).collect();
    let pids: BTreeSet<u32> = processes.iter().map(LoadProcess::pid).collect();
    assert_eq!(pids.len(), COUNT);
    let mut command = command(&["--once", "--sample", "0.01", "--ebpf", "off", "--protocol", protocol]);
    command.args([
        "--per-process",
        "--max-series-processes",
        "2000",
        "--names",
        "both",
        "--process",
        name.text(),
    ]);
    command.args(["--agent-host", "127.0.0.1", "--agent-port", &port.to_string()]);
    // Limits are of what is sent.
    command.env("OTEL_EXPORTER_OTLP_COMPRESSION", "none").env("OTEL_EXPORTER_OTLP_TIMEOUT", "60000");
    assert_eq!(code_and_errors(&command.output().unwrap()), (Some(0), String::new()));
    let (exports, of_agent) = by_pid(receiver.exports());
    assert_eq!(exports.keys().copied().collect::<BTreeSet<_>>(), pids);
    for (metric, each) in
        [("process.memory.usage", 1), ("process.cpu.time", 2), ("process.disk.io", 2), ("process.uptime", 1)]
    {
        for (pid, export) in &exports {
            let number = export.points.iter().filter(|point| point.name == metric).count();
            assert_eq!(number, each, "{metric} of {pid}");
        }
    }
    let total = |name: &str| {
        let mut points = of_agent.points.iter().filter(|point| point.name == name);
        let value = points.next().unwrap_or_else(|| panic!("no {name}")).value;
        assert_eq!(points.next(), None, "{name}");
        value
    };
    assert_eq!(total("m8refsvr.process.count"), COUNT as f64);
    for (metric, kind, name) in TOTALS {
        let points = exports.values().flat_map(|export| &export.points);
        let of_kind = points
            .filter(|point| point.name == metric)
            .filter(|point| kind.is_empty() || point.attributes.values().any(|value| value == kind));
        let (sum, total) = (of_kind.map(|point| point.value).sum::<f64>(), total(name));
        // Seconds are fractions, whose sum depends on their order.
        assert!((sum - total).abs() <= total * 1e-9, "{metric}, {kind}: {sum} of {total}");
    }
}
