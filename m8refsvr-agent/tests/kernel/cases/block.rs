//! Block I/O against what was written and read.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use m8refsvr_agent::bpf::{BlockVariant, Options};
use m8refsvr_test_support::load::BLOCK;

use crate::{
    Case,
    Need::{Bpf, Disk, Tracefs},
    collecting::{collector, collector_with, document, metrics, of},
    counted::Counted as _,
    load::{Load, work_folder},
};

pub(crate) const CASES: &[Case] = &[DD_RAW, DD_CLASSIC, TWO_AT_ONCE, FOUR_THREADS, PREEMPTED_THREADS, READS];

const MIB: u64 = 1 << 20;

/// Block I/O can be seen where files lie on a block device, and not in memory or behind a network.
pub(crate) fn reason_against_disk() -> Result<(), String> {
    let folder = work_folder();
    let path = folder.path().join("probe");
    let probe = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096", "count=1", "oflag=direct"])
        .arg(format!("of={}", path.display()))
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        return Err(format!("{} takes no direct writes", folder.path().display()));
    }
    let device = rustix::fs::stat(&path).map_err(|error| error.to_string())?.st_dev;
    if rustix::fs::major(device) == 0 {
        return Err(format!("{} is on no block device", folder.path().display()));
    }
    Ok(())
}

const DD_RAW: Case =
    Case::new("what dd writes past the page cache is counted to the byte", &[Bpf, Disk], || {
        dd_is_counted(&[BlockVariant::Raw, BlockVariant::RawWithQueue])
    });
const DD_CLASSIC: Case = Case::new(
    "what dd writes past the page cache is counted to the byte by the classic tracepoints",
    &[Bpf, Disk, Tracefs],
    || dd_is_counted(&[BlockVariant::Classic]),
);

/// dd under a name that matches, fed by us, so that it lives before the first byte and after the last.
fn dd_is_counted(variants: &[BlockVariant]) {
    let folder = work_folder();
    let program = folder.path().join("M8RefSvr_dd");
    fs::copy("/bin/dd", &program).unwrap();
    let mut dd = Command::new(&program)
        .arg(format!("of={}", folder.path().join("written").display()))
        .args(["bs=1M", "iflag=fullblock", "oflag=direct"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = dd.stdin.take().unwrap();
    // After the first block dd has surely its name, and its file exists.
    input.write_all(&vec![1; BLOCK]).unwrap();
    let options =
        Options { capacity: 16, bpf_fs: None, block_variants: variants.to_vec(), ..Options::default() };
    let mut collector = collector_with("M8RefSvr_dd", &options);
    while fs::metadata(folder.path().join("written")).map_or(0, |file| file.len()) < MIB {
        std::thread::yield_now();
    }
    let first = collector.collect().unwrap();
    assert_eq!(of(&first, dd.id()).block().unwrap().write_bytes, 0);
    for _ in 0..100 {
        input.write_all(&vec![2; BLOCK]).unwrap();
    }
    while fs::metadata(folder.path().join("written")).unwrap().len() < 101 * MIB {
        std::thread::yield_now();
    }
    let second = collector.collect().unwrap();
    let document = document(&collector, &first, &second);
    drop(input);
    dd.wait().unwrap();
    let metrics = metrics(&document, dd.id());
    assert_eq!(metrics["block_write_bytes"], 104_857_600);
    let operations = metrics["block_write_operations"].as_u64().unwrap();
    assert!((100..=25_600).contains(&operations), "{operations} requests for 100 MiB");
    assert_eq!(document["metrics"]["block_write_bytes"], 104_857_600);
}

const TWO_AT_ONCE: Case =
    Case::new("two processes that write at once do not disturb each other", &[Bpf, Disk], two_at_once);

fn two_at_once() {
    let (mut one, mut other) = (Load::start("M8RefSvr_two"), Load::start("M8RefSvr_two"));
    let mut collector = collector("M8RefSvr_two");
    collector.collect().unwrap();
    let write = |load: &mut Load, blocks: u64| {
        load.run(&format!("write-direct 1 {blocks}"));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| write(&mut one, 100));
        scope.spawn(|| write(&mut other, 60));
    });
    let sample = collector.collect().unwrap();
    assert_eq!(of(&sample, one.pid()).block().unwrap().write_bytes, 100 * MIB);
    assert_eq!(of(&sample, other.pid()).block().unwrap().write_bytes, 60 * MIB);
}

const FOUR_THREADS: Case =
    Case::new("four threads that write at once lose nothing", &[Bpf, Disk], four_threads);

fn four_threads() {
    let mut load = Load::start("M8RefSvr_four");
    let mut collector = collector("M8RefSvr_four");
    collector.collect().unwrap();
    load.run("write-direct 4 50");
    let block = of(&collector.collect().unwrap(), load.pid()).block().unwrap();
    assert_eq!(block.write_bytes, 200 * MIB);
}

const PREEMPTED_THREADS: Case =
    Case::new("requests of threads that preempt each other are all counted", &[Bpf, Disk], preempted_threads);

/// From Linux 7.0 on a thread can be preempted within a program, which the kernel then skips for the next.
fn preempted_threads() {
    const THREADS: u64 = 16;
    const TIMES: u64 = 1000;
    const BYTES: u64 = 4096;
    let mut load = Load::start("M8RefSvr_preempt");
    let mut collector = collector("M8RefSvr_preempt");
    collector.collect().unwrap();
    load.run(&format!("rewrite-direct {THREADS} {TIMES} {BYTES}"));
    let block = of(&collector.collect().unwrap(), load.pid()).block().unwrap();
    assert_eq!(block.write_bytes, THREADS * TIMES * BYTES);
}

const READS: Case = Case::new("what is read past the page cache is counted to the byte", &[Bpf, Disk], reads);

fn reads() {
    let mut load = Load::start("M8RefSvr_reads");
    load.run("write-direct 1 100");
    let mut collector = collector("M8RefSvr_reads");
    collector.collect().unwrap();
    load.run(&format!("read-direct written-{}-0", load.pid()));
    let block = of(&collector.collect().unwrap(), load.pid()).block().unwrap();
    assert_eq!(block.read_bytes, 100 * MIB);
    assert_eq!((block.write_bytes, block.write_operations), (0, 0));
    assert!(block.read_operations >= 100, "{block:?}");
}
