//! Devices on devices: what a process writes to one is counted where it becomes requests to disks, and nowhere else.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Case,
    Need::{Bpf, DeviceMapper, Lvm, Md},
    collecting::{collector, of},
    counted::Counted as _,
    load::{Load, work_folder},
    release,
};

pub(crate) const CASES: &[Case] = &[LINEAR, LVM, STRIPED, MIRRORED];

const BLOCKS: u64 = 16;
const BYTES: u64 = BLOCKS << 20;
/// Names two block devices, separated by a space, on which the tests may overwrite everything.
const SPARE_DISKS: &str = "M8REFSVR_SPARE_DISKS";

/// Two disks, and a program that makes devices of them.
pub(crate) fn reason_against(program: &str, file: &str) -> Result<(), String> {
    spare_disks()?;
    if !Path::new(file).exists() {
        return Err(format!("there is no {file}"));
    }
    let outcome = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    outcome.map(|_| ()).map_err(|error| format!("{program}: {error}"))
}

fn spare_disks() -> Result<[PathBuf; 2], String> {
    let disks = env::var(SPARE_DISKS).unwrap_or_default();
    let disks: Vec<PathBuf> = disks.split_whitespace().map(PathBuf::from).collect();
    disks.try_into().map_err(|_| format!("{SPARE_DISKS} names no two disks that may be overwritten"))
}

/// A device that is taken apart in the end.
struct Stack {
    undo: Vec<Vec<String>>,
}

impl Stack {
    fn new() -> Self {
        Self { undo: Vec::new() }
    }

    /// Runs a command, and remembers the one that undoes it.
    fn run(&mut self, words: &[&str], undo: &[&str]) {
        tool(words);
        self.undo.push(undo.iter().map(|&word| word.to_owned()).collect());
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for words in self.undo.drain(..).rev().filter(|words| !words.is_empty()) {
            tool(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

/// Runs one of the programs that make devices; without udev it makes their files itself.
fn tool(words: &[&str]) {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("DM_DISABLE_UDEV", "1").env("LVM_SUPPRESS_FD_WARNINGS", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes and requests of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Writes {
    bytes: u64,
    operations: u64,
}

/// What all disks together have completed. Format: `Documentation/block/stat.rst`.
fn completed(disks: &[PathBuf]) -> Writes {
    let mut sum = Writes { bytes: 0, operations: 0 };
    for disk in disks {
        let name = disk.file_name().unwrap().to_string_lossy();
        let stat = fs::read_to_string(format!("/sys/class/block/{name}/stat")).unwrap();
        let numbers: Vec<u64> = stat.split_whitespace().map(|number| number.parse().unwrap()).collect();
        sum.operations += numbers[4];
        sum.bytes += numbers[6] * 512;
    }
    sum
}

/// A process that matches writes to a device past the page cache: what is counted for it, and what its disks had to do.
fn write_to(device: &str, disks: &[PathBuf]) -> (Writes, Writes) {
    let mut load = Load::start("M8RefSvr_stacked");
    let mut collector = collector("M8RefSvr_stacked");
    collector.collect().unwrap();
    let before = completed(disks);
    load.run(&format!("overwrite-direct {device} {BLOCKS}"));
    let after = completed(disks);
    let block = of(&collector.collect().unwrap(), load.pid()).block().unwrap();
    (
        Writes { bytes: block.write_bytes, operations: block.write_operations },
        Writes { bytes: after.bytes - before.bytes, operations: after.operations - before.operations },
    )
}

const LINEAR: Case = Case::new(
    "what is written to a linear device of the device mapper is counted once",
    &[Bpf, DeviceMapper],
    linear,
);

fn linear() {
    let disks = spare_disks().unwrap();
    let mut stack = Stack::new();
    let table = |device: &str| format!("0 {} linear {device} 0", (BYTES / 512) * 2);
    stack.run(
        &["dmsetup", "create", "m8refsvr-lower", "--table", &table(&disks[0].display().to_string())],
        &["dmsetup", "remove", "m8refsvr-lower"],
    );
    // And one on it.
    stack.run(
        &["dmsetup", "create", "m8refsvr-upper", "--table", &table("/dev/mapper/m8refsvr-lower")],
        &["dmsetup", "remove", "m8refsvr-upper"],
    );
    for device in ["/dev/mapper/m8refsvr-lower", "/dev/mapper/m8refsvr-upper"] {
        let (counted, completed) = write_to(device, &disks[..1]);
        assert_eq!(counted.bytes, BYTES, "{device}");
        assert_eq!(counted, completed, "{device}");
    }
}

const LVM: Case = Case::new("what is written to an LVM volume is counted once", &[Bpf, Lvm], lvm);

fn lvm() {
    let disks = spare_disks().unwrap();
    let disk = disks[0].display().to_string();
    let folder = work_folder();
    let config = format!(
        "devices {{ use_devicesfile=0 obtain_device_list_from_udev=0 filter=[\"a|^{disk}$|\", \"r|.*|\"] }} \
         activation {{ udev_sync=0 udev_rules=0 }} backup {{ backup=0 archive=0 }} global {{ locking_dir=\"{}\" }}",
        folder.path().display()
    );
    let mut stack = Stack::new();
    let config = ["--config", config.as_str()];
    let lvm = |words: &[&'static str]| [&["lvm"], words, config.as_slice()].concat();
    let mut run = |words: &[&'static str], undo: &[&'static str]| stack.run(&lvm(words), &lvm(undo));
    let disk: &'static str = disk.leak();
    run(&["pvcreate", "--yes", "--force", disk], &["pvremove", "--yes", disk]);
    run(&["vgcreate", "m8refsvr", disk], &["vgremove", "--yes", "m8refsvr"]);
    run(
        &["lvcreate", "--yes", "--zero", "n", "--extents", "100%FREE", "--name", "data", "m8refsvr"],
        &["lvremove", "--yes", "m8refsvr/data"],
    );
    let (counted, completed) = write_to("/dev/mapper/m8refsvr-data", &disks[..1]);
    assert_eq!(counted.bytes, BYTES);
    assert_eq!(counted, completed);
}

/// Writes to an array of both disks.
fn write_to_array(level: &str) -> (Writes, Writes) {
    const DEVICE: &str = "/dev/md90";
    let disks = spare_disks().unwrap();
    let names = disks.each_ref().map(|disk| disk.display().to_string());
    let mut stack = Stack::new();
    // A mirror is not first made equal, which would be writes too.
    let build = ["mdadm", "--build", DEVICE, "--level", level, "--raid-devices=2", &names[0], &names[1]];
    let build = [&build[..], if level == "1" { &["--assume-clean"] } else { &[] }].concat();
    stack.run(&build, &["mdadm", "--stop", DEVICE]);
    write_to(DEVICE, &disks)
}

const STRIPED: Case =
    Case::new("what is written to a striped md device is counted once", &[Bpf, Md], striped);

fn striped() {
    let (counted, completed) = write_to_array("0");
    assert_eq!(counted.bytes, BYTES);
    assert_eq!(counted, completed);
}

const MIRRORED: Case = Case::new(
    "what is written to a mirrored md device is counted for each disk if the process makes the requests",
    &[Bpf, Md],
    mirrored,
);

fn mirrored() {
    let (counted, completed) = write_to_array("1");
    assert_eq!(completed.bytes, 2 * BYTES);
    // Linux 5.10 has a thread of its own make the requests, 6.1 has the process; where the array has a bitmap, all have
    // the thread (`drivers/md/raid1-10.c`).
    let expected = if release() >= [6, 1] { completed } else { Writes { bytes: 0, operations: 0 } };
    assert_eq!(counted, expected);
}
