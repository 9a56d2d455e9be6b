//! What taking apart the files of a process costs, without reading them: `cargo bench -p m8refsvr-agent --bench
//! parsers`. What is read of every process at every collection has a parser of its own, and stands beside that of
//! procfs.

#![expect(clippy::unwrap_used, reason = "a bench for developers")]

use std::{hint::black_box, path::Path};

use criterion::{Criterion, criterion_group, criterion_main};
use m8refsvr_agent::proc::{
    cgroup::{Hierarchies, Membership},
    io,
    limits::Limits,
    stat::Stat,
    statm::Memory,
    status::Status,
    system::memory_in,
};
use procfs::{
    FromRead as _,
    process::{Io, Stat as OtherStat, StatM, Status as OtherStatus},
};

/// Files that a kernel wrote.
const STAT: &[u8] = include_bytes!("../fuzz/corpus/proc_stat/sleep");
const STATM: &[u8] = include_bytes!("../fuzz/corpus/proc_statm/sleep");
const IO: &[u8] = include_bytes!("../fuzz/corpus/proc_io/sleep");
const STATUS: &[u8] = include_bytes!("../fuzz/corpus/proc_status/sleep");
const LIMITS: &[u8] = include_bytes!("../fuzz/corpus/proc_limits/sleep");
const MEMINFO: &[u8] = include_bytes!("../fuzz/corpus/proc_system/meminfo");
const MOUNTINFO: &[u8] = b"\
24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw
25 30 0:23 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
30 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
31 25 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw
";
const CGROUP: &[u8] = b"0::/system.slice/m8refsvr.service\n";

fn hot(criterion: &mut Criterion) {
    let mut pair = |name: &str, own: fn(&[u8]), procfs: fn(&[u8]), file: &[u8]| {
        let mut group = criterion.benchmark_group(name);
        group.bench_function("own", |bencher| bencher.iter(|| own(black_box(file))));
        group.bench_function("procfs", |bencher| bencher.iter(|| procfs(black_box(file))));
    };
    pair("stat", |file| kept(Stat::parse(file)), |file| kept(OtherStat::from_read(file).ok()), STAT);
    pair("statm", |file| kept(Memory::parse(file)), |file| kept(StatM::from_read(file).ok()), STATM);
    pair("io", |file| kept(io::parse(file)), |file| kept(Io::from_read(file).ok()), IO);
    pair(
        "status: switches",
        |file| kept(Status::parse(file).and_then(Status::context_switches)),
        |file| kept(OtherStatus::from_read(file).ok()),
        STATUS,
    );
}

fn kept<T>(parsed: Option<T>) {
    black_box(parsed.unwrap());
}

fn others(criterion: &mut Criterion) {
    criterion.bench_function("status", |bencher| {
        bencher.iter(|| Status::parse(black_box(STATUS)).unwrap().real_user())
    });
    criterion.bench_function("limits", |bencher| bencher.iter(|| Limits::parse(black_box(LIMITS)).unwrap()));
    criterion.bench_function("meminfo", |bencher| bencher.iter(|| memory_in(black_box(MEMINFO)).unwrap()));
    let root = Path::new("/proc");
    criterion.bench_function("mountinfo", |bencher| {
        bencher.iter(|| Hierarchies::parse(black_box(MOUNTINFO), root));
    });
    criterion
        .bench_function("cgroup", |bencher| bencher.iter(|| Membership::parse(black_box(CGROUP)).unwrap()));
}

criterion_group!(benches, hot, others);
criterion_main!(benches);
