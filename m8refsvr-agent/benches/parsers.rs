//! What taking apart the files of a process costs, without reading them: `cargo bench -p m8refsvr-agent --bench parsers`.

#![expect(clippy::unwrap_used, reason = "a bench for developers")]

use std::{hint::black_box, path::Path};

use criterion::{Criterion, criterion_group, criterion_main};
use m8refsvr_agent::proc::{
    cgroup::{Controller, Hierarchies},
    io::StorageIo,
    limits::{Limits, parse_real_user},
    stat::Stat,
    statm::Memory,
    switches,
};

/// Files that a kernel wrote.
const STAT: &[u8] = include_bytes!("../fuzz/corpus/proc_stat/sleep");
const STATM: &[u8] = include_bytes!("../fuzz/corpus/proc_statm/sleep");
const IO: &[u8] = include_bytes!("../fuzz/corpus/proc_io/sleep");
const STATUS: &[u8] = include_bytes!("../fuzz/corpus/proc_status/sleep");
const LIMITS: &[u8] = include_bytes!("../fuzz/corpus/proc_limits/sleep");
const MOUNTINFO: &[u8] = b"\
24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw
25 30 0:23 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
30 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
31 25 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw
";
const CGROUP: &[u8] = b"0::/system.slice/m8refsvr.service\n";

fn parsers(criterion: &mut Criterion) {
    criterion.bench_function("stat", |bencher| bencher.iter(|| Stat::parse(black_box(STAT)).unwrap()));
    criterion.bench_function("statm", |bencher| bencher.iter(|| Memory::parse(black_box(STATM)).unwrap()));
    criterion.bench_function("io", |bencher| bencher.iter(|| StorageIo::parse(black_box(IO)).unwrap()));
    criterion.bench_function("status: switches", |bencher| {
        bencher.iter(|| switches::parse(black_box(STATUS)).unwrap());
    });
    criterion.bench_function("status: user", |bencher| {
        bencher.iter(|| parse_real_user(black_box(STATUS)).unwrap());
    });
    criterion.bench_function("limits", |bencher| bencher.iter(|| Limits::parse(black_box(LIMITS)).unwrap()));
    let root = Path::new("/proc");
    criterion.bench_function("mountinfo", |bencher| {
        bencher.iter(|| Hierarchies::parse(black_box(MOUNTINFO), root));
    });
    let hierarchies = Hierarchies::parse(MOUNTINFO, root);
    criterion.bench_function("cgroup", |bencher| {
        bencher.iter(|| hierarchies.folders(black_box(CGROUP), Controller::Memory).count())
    });
}

criterion_group!(benches, parsers);
criterion_main!(benches);
