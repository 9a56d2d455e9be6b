//! What `docs/fleets.md` says an export costs, measured.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use crate::{
    Case,
    Need::{Bpf, Mock},
    agent::Agent,
    bpf_stats::BpfStats,
    load::Name,
    receiver::{Export, Kind, Receiver},
    relay::Relay,
};

pub(crate) const CASES: &[Case] = &[AS_THE_PAGE_SAYS];

/// As many as in the page's table.
const PROCESSES: usize = 10;
/// So many exports are averaged, and one more: the last.
const COLLECTIONS: usize = 6;
/// Names and numbers of machines differ in length, and not every machine has every limit.
const TOLERANCE: f64 = 0.15;

/// A row of the page's table.
#[derive(Debug, PartialEq)]
struct Cost {
    flags: Vec<String>,
    series: f64,
    compressed: f64,
    plain: f64,
}

const AS_THE_PAGE_SAYS: Case = Case::new(
    "an export has as many series and bytes as the page on fleets says",
    &[Bpf, Mock],
    as_the_page_says,
);

fn as_the_page_says() {
    // BPF programs have series of their own where the kernel measures them.
    let _stats = BpfStats::set(false);
    let receiver = Receiver::start(Kind::Mock);
    let name = Name::new("fleet");
    let mut processes: Vec<_> = (0..PROCESSES).map(|_| name.start()).collect();
    let rows = rows(include_str!("../../../../docs/fleets.md"));
    assert_eq!(rows.len(), 4, "{rows:?}");
    let is_over = AtomicBool::new(false);
    let measured: Vec<Cost> = thread::scope(|scope| {
        // Numbers that differ and change compress less well than zeros.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for (process, number) in processes.iter_mut().zip(1..) {
                    process.run(&format!("burn-cpu {number}"));
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        let measure = |row: &Cost| {
            let flags = row.flags.clone();
            let (name, receiver) = (&name, &receiver);
            scope.spawn(move || measure(flags, name, receiver))
        };
        let measuring: Vec<_> = rows.iter().map(measure).collect();
        let measured: Vec<_> = measuring.into_iter().map(ScopedJoinHandle::join).collect();
        // Also where one of them failed.
        is_over.store(true, Ordering::Relaxed);
        measured.into_iter().map(Result::unwrap).collect()
    });
    let is_near = |measured: f64, documented: f64| (measured - documented).abs() <= documented * TOLERANCE;
    for (row, cost) in rows.iter().zip(&measured) {
        assert!(
            is_near(cost.series, row.series)
                && is_near(cost.compressed, row.compressed)
                && is_near(cost.plain, row.plain),
            "measured {measured:#?}, but the page says {row:#?}"
        );
    }
}

fn measure(flags: Vec<String>, name: &Name, receiver: &Receiver) -> Cost {
    let (series, compressed) = export(&flags, "gzip", name, receiver);
    let (_, plain) = export(&flags, "none", name, receiver);
    Cost { flags, series, compressed, plain }
}

/// The series of an export, and its mean bytes.
fn export(flags: &[String], compression: &str, name: &Name, receiver: &Receiver) -> (f64, f64) {
    let relay = Relay::to(receiver.grpc_port());
    let place = format!("http://127.0.0.1:{}", relay.port());
    let mut arguments = vec!["--interval", "1", "--process", name.text(), "--endpoint", &place];
    arguments.extend(flags.iter().map(String::as_str));
    let mark = format!("{}{compression}", flags.concat());
    let attributes = format!("mark={mark}");
    let variables =
        [("OTEL_EXPORTER_OTLP_COMPRESSION", compression), ("OTEL_RESOURCE_ATTRIBUTES", attributes.as_str())];
    let mut agent = Agent::start_with(&arguments, &variables);
    agent.wait_for_collections(COLLECTIONS);
    agent.signal(rustix::process::Signal::TERM);
    agent.wait();
    let mut exports = receiver.exports();
    exports.retain(|export| export.resource.get("mark") == Some(&mark));
    // Each has one request of the agent's own resource.
    let is_first = |export: &Export| !export.resource.contains_key("process.pid");
    let last = exports.iter().rposition(is_first).unwrap();
    let series: usize = exports[last..].iter().map(|export| export.points.len()).sum();
    let count = exports.iter().filter(|export| is_first(export)).count();
    let (bytes, requests) = relay.sent();
    assert!(requests as usize >= count, "{requests} requests brought {count} exports");
    (series as f64, bytes as f64 / count as f64)
}

fn rows(page: &str) -> Vec<Cost> {
    let table = page.split("| flags | series | bytes, gzip | bytes, uncompressed |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let number = |cell: &str| cell.replace(',', "").parse().unwrap();
        Cost {
            flags: cells[1].trim_matches('`').split_whitespace().map(str::to_owned).collect(),
            series: number(cells[2]),
            compressed: number(cells[3]),
            plain: number(cells[4]),
        }
    })
    .collect()
}
