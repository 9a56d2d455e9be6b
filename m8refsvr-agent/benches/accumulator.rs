//! What taking in a collection costs, making the report of it, collecting it by the SDK, and the messages of that:
//! `cargo bench -p m8refsvr-agent --bench accumulator`.

#![expect(clippy::unwrap_used, reason = "a bench for developers")]

use std::{
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use m8refsvr_agent::{
    collector::Collector,
    export::otlp::{self, Instruments, LIMIT, Names, Place, ProcessMessages},
    metrics::{
        accumulator::Accumulator,
        report::{Exports, Reporter},
    },
    model::{
        counters::{Counter, Totals},
        sample::Sample,
    },
    proc::{Proc, system::Host},
    service::self_stats::{self, Collections},
    tracker::selector::Selector,
};
use prost::Message as _;

/// A collection at so many processes, all like one that is there; and who looked.
fn collect(processes: u32) -> (Collector, Sample) {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let selector = Selector::new(&["cat".into()], &[]).unwrap();
    let mut collector = Collector::new(Proc::new("/proc"), selector, None);
    let mut sample = collector.collect().unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    let one = sample.processes.pop().unwrap();
    let like = |pid| {
        let mut process = one.clone();
        process.identity.pid = pid;
        process
    };
    sample.processes = (1..=processes).map(like).collect();
    (collector, sample)
}

/// The same a moment later, when each has done something.
fn later(sample: &mut Sample) {
    for process in &mut sample.processes {
        process.counters = Totals::of(|counter| {
            let value = process.counters.get(counter)?;
            Some(if counter == Counter::CpuUser { value + 10_000_000 } else { value })
        });
    }
    sample.at += Duration::from_secs(1);
}

fn accumulator(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("accumulator");
    for processes in [1, 1000] {
        let (_, mut sample) = collect(processes);
        let mut accumulator = Accumulator::new(SystemTime::now(), 1);
        group.bench_function(BenchmarkId::new("record", processes), |bencher| {
            let next = || {
                later(&mut sample);
                sample.clone()
            };
            bencher.iter_batched_ref(next, |sample| accumulator.record(sample, true), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn report(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("report");
    for (what, listed) in [("sums", None), ("series for each", Some(1000))] {
        let (collector, mut sample) = collect(1000);
        let mut reporter = Reporter::new(SystemTime::now(), vec!["cat".into()], listed);
        group.bench_function(BenchmarkId::new(what, 1000), |bencher| {
            let next = || {
                later(&mut sample);
                let agent = self_stats::report(&collector, Collections::default(), Exports::default());
                (sample.clone(), agent, self_stats::machine(&collector))
            };
            bencher.iter_batched(
                next,
                |(sample, agent, machine)| reporter.report(&sample, machine, agent, true),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn export(criterion: &mut Criterion) {
    let names = Names { otel: true, instana: false };
    let resource = otlp::resource(&Host::this(), &[], otlp::Overrides::default()).unwrap();
    let mut group = criterion.benchmark_group("export");
    for (what, listed) in [("sums", None), ("series for each", Some(1000))] {
        let (collector, sample) = collect(1000);
        let mut reporter = Reporter::new(SystemTime::now(), vec!["cat".into()], listed);
        let agent = self_stats::report(&collector, Collections::default(), Exports::default());
        let report = reporter.report(&sample, self_stats::machine(&collector), agent, true);
        let mut instruments = Instruments::new(names, &resource, 1);
        group.bench_function(BenchmarkId::new(format!("collect {what}"), 1000), |bencher| {
            bencher.iter_batched(
                || report.clone(),
                |report| instruments.collect(report).unwrap(),
                BatchSize::SmallInput,
            );
        });
        let messages = ProcessMessages::new(names, resource.clone(), Place::Resource);
        group.bench_function(BenchmarkId::new(format!("messages of {what}"), 1000), |bencher| {
            bencher.iter(|| {
                messages.requests(&report, LIMIT).map(|request| request.encode_to_vec()).collect::<Vec<_>>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, accumulator, report, export);
criterion_main!(benches);
