//! The document has what two samples say, and nothing else.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::{
    model::{
        counters::Readings,
        cpu_time::nanoseconds,
        exit::Exit,
        identity::Identity,
        limit_utilization::LimitUtilization,
        sample::fixtures::{ended, vanished},
    },
    proc::io::IoAccounting,
};

const SOURCES: Sources =
    Sources { context_switches: Source::Procfs, block_io: Source::None, lifecycle: Source::Procfs };

const IO: IoAccounting = IoAccounting { write_bytes: 2, ..IoAccounting::all(1) };

fn counters(cpu_user: f64) -> Totals {
    Totals::of(|counter| match counter {
        Counter::CpuUser => Some(nanoseconds(Duration::from_secs_f64(cpu_user))),
        Counter::CpuSystem => Some(500_000_000),
        Counter::MinorFaults => Some(3),
        Counter::MajorFaults => Some(1),
        _ => None,
    })
}

fn process(pid: u32, at: Instant, cpu_user: f64) -> ProcessSample {
    ProcessSample {
        attributes: None,
        identity: Identity { pid, start_ticks: 50 },
        name: "M8RefSvr".into(),
        executable: None,
        group: 0,
        has_parent: false,
        at,
        started: UNIX_EPOCH + Duration::from_millis(1_763_800_000_000),
        counters: counters(cpu_user).with(Readings { io: Some(&IO), ..Readings::default() }),
        threads: 9,
        resident_bytes: Some(1 << 20),
        virtual_bytes: Some(1 << 21),
        open_files: Some(62),
        first: None,
        limits_used: LimitUtilization::default(),
    }
}

fn sample(began: Instant, processes: Vec<ProcessSample>) -> Sample {
    let at = UNIX_EPOCH + Duration::from_millis(1_763_806_272_345);
    Sample {
        at,
        began_ticks: 100,
        began,
        processes,
        ends: Vec::new(),
        missing_values: MissingValues::default(),
    }
}

fn document(first: &Sample, second: &Sample) -> Value {
    let host = Host { name: "host".into(), id: None };
    let context = Context {
        host: &host,
        memory_bytes: Some(1 << 30),
        sources: SOURCES,
        patterns: vec!["M8RefSvr".into()],
        problems: &[],
    };
    serde_json::to_value(Document::new(first, second, context)).unwrap()
}

#[test]
fn cpu_usage_is_what_was_used_between_the_looks_at_the_process() {
    let start = Instant::now();
    let end = start + Duration::from_secs(2);
    let first = sample(start, vec![process(1, start, 10.0)]);
    let document = document(&first, &sample(end, vec![process(1, end, 10.75)]));
    assert_eq!(document["processes"][0]["metrics"]["cpu_usage"], 37.5);
    assert_eq!(document["metrics"]["cpu_usage"], 37.5);
    assert_eq!(document["metrics"]["cpu_user_time"], 10.75);
    assert_eq!(document["sample_seconds"], 2.0);
    assert_eq!(document["timestamp"], 1_763_806_272_345_u64);
    assert_eq!(document["processes"][0]["start_time"], 1_763_800_000_000_u64);
}

#[test]
fn a_process_that_started_between_the_looks_used_all_its_time_there() {
    let start = Instant::now();
    let end = start + Duration::from_secs(1);
    let mut young = process(1, end, 0.0);
    young.identity.start_ticks = 100;
    let document = document(&sample(start, vec![]), &sample(end, vec![young]));
    assert_eq!(document["metrics"]["cpu_usage"], 50.0);
}

#[test]
fn a_process_that_only_began_to_match_has_no_cpu_usage_and_that_is_said() {
    let start = Instant::now();
    let end = start + Duration::from_secs(1);
    let document = document(&sample(start, vec![]), &sample(end, vec![process(1, end, 9.0)]));
    assert_eq!(document["metrics"].get("cpu_usage"), None);
    assert!(document["agent"]["warnings"][0].as_str().unwrap().contains("cpu_usage of 1 process"));
}

#[test]
fn an_id_that_came_again_is_another_process() {
    let start = Instant::now();
    let end = start + Duration::from_secs(1);
    let mut young = process(1, end, 0.1);
    young.identity.start_ticks = 120;
    let document = document(&sample(start, vec![process(1, start, 10.0)]), &sample(end, vec![young]));
    assert_eq!(document["metrics"]["cpu_usage"], 60.0);
}

#[test]
fn what_was_not_read_is_absent_and_never_zero() {
    let now = Instant::now();
    let mut unreadable = process(2, now, 0.0);
    unreadable.counters = counters(0.0);
    let one = document(&sample(now, vec![]), &sample(now, vec![unreadable.clone()]));
    assert_eq!(one["metrics"].get("disk_write_bytes"), None);
    assert_eq!(one["metrics"].get("block_write_bytes"), None);
    assert_eq!(one["host"], json!({"name": "host"}));
    let two = document(&sample(now, vec![]), &sample(now, vec![process(1, now, 0.0), unreadable]));
    assert_eq!(two["metrics"]["disk_write_bytes"], 2);
    assert_eq!(two["metrics"]["process_count"], 2);
    assert_eq!(two["metrics"]["thread_count"], 18);
}

#[test]
fn sums_over_no_process_are_0_and_fractions_are_absent() {
    let now = Instant::now();
    let document = document(&sample(now, vec![]), &sample(now, vec![]));
    assert_eq!(document["metrics"]["process_count"], 0);
    assert_eq!(document["metrics"]["memory_rss"], 0);
    for absent in ["block_read_bytes", "cpu_usage", "memory_usage"] {
        assert_eq!(document["metrics"].get(absent), None, "{absent}");
    }
    assert_eq!(document["processes"], json!([]));
}

#[test]
fn where_proc_hides_processes_it_is_not_known_that_there_is_none() {
    let now = Instant::now();
    let mut blind = sample(now, vec![]);
    blind.missing_values.hidden_by_mount();
    assert_eq!(document(&sample(now, vec![]), &blind)["metrics"], json!({}));
    blind.processes.push(process(1, now, 0.0));
    assert_eq!(document(&sample(now, vec![]), &blind)["metrics"]["process_count"], 1);
}

#[test]
fn the_document_has_the_keys_that_are_documented_in_their_order() {
    let now = Instant::now();
    let document = document(&sample(now, vec![]), &sample(now, vec![]));
    let keys: Vec<_> = document.as_object().unwrap().keys().cloned().collect();
    let expected =
        ["name", "timestamp", "host", "agent", "process", "sample_seconds", "metrics", "processes", "exits"];
    assert_eq!(keys, expected);
}

#[test]
fn an_exit_has_what_is_known_of_it_and_a_deselected_process_has_none() {
    let now = Instant::now();
    let mut killed = ended(7, 100, 3);
    killed.how = EndKind::Exited(Exit::Signal { number: 11, core_dumped: true });
    killed.peak_bytes = Some(1 << 20);
    let left = ProcessEnd { how: EndKind::Deselected, ..ended(8, 100, 3) };
    let second = Sample { ends: vec![killed, left, vanished(9, 100)], ..sample(now, vec![]) };
    let document = document(&sample(now, vec![]), &second);
    let of_killed = json!({
        "pid": 7, "name": "M8RefSvr", "start_time": 1000, "exit_time": 1001, "run_time": 0.001, "reason": "signal",
        "signal": 11, "signal_name": "SIGSEGV", "core_dumped": true, "memory_rss_peak": 1_048_576,
    });
    assert_eq!(document["exits"][0], of_killed);
    assert_eq!(
        (&document["exits"][1]["pid"], &document["exits"][1]["reason"]),
        (&json!(9), &json!("unknown"))
    );
    assert_eq!(document["exits"].as_array().unwrap().len(), 2);
}
