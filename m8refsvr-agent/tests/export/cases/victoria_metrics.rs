//! What a receiver that stores has in the end, asked of it by its own query language.

use rustix::process::Signal;

use crate::{
    Case,
    Need::{Bpf, VictoriaMetrics as Store},
    agent::Agent,
    load::Name,
    victoria_metrics::VictoriaMetrics,
};

pub(crate) const CASES: &[Case] = &[CONTEXT_SWITCHES];

const THREADS: u64 = 4;
const TIMES: u64 = 100;
const ROUNDS: u64 = 5;

const CONTEXT_SWITCHES: Case = Case::new(
    "the context switches that VictoriaMetrics stores end at what the kernel has accounted",
    &[Bpf, Store],
    context_switches,
);

fn context_switches() {
    let store = VictoriaMetrics::start();
    let name = Name::new("stored");
    let endpoint = store.endpoint();
    let agent = ["--interval", "0.5", "--ebpf", "require", "--bpf-fs", "/nowhere", "--process", name.text()];
    let place = ["--protocol", "http/protobuf", "--endpoint", &endpoint];
    let mut agent = Agent::start_with(&[&agent[..], &place].concat(), &[("OTEL_SERVICE_NAME", "stored")]);
    // The process starts between two collections, and so counts from its first switch on.
    agent.wait_for_collections(1);
    let mut process = name.start_accounted();
    for _ in 0..ROUNDS {
        process.run(&format!("switch {THREADS} {TIMES}"));
        agent.wait_for_collections(1);
    }
    // With what it did on its way out.
    let [voluntary, involuntary] = process.end();
    assert!(voluntary >= THREADS * TIMES * ROUNDS, "it did not wait: {voluntary}");
    assert!(involuntary > 0, "it was never preempted");
    agent.wait_for_collections(2);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().0, Some(0), "{}", agent.log());
    let mut ends = Vec::new();
    let stored = store.series("process.context_switches");
    for series in &stored {
        let label = |label: &str| series.labels.get(label).map(String::as_str);
        assert_eq!(label("service.name"), Some("stored"), "{series:?}");
        assert_eq!(label("os.type"), Some("linux"), "{series:?}");
        assert_eq!(label("host.name"), rustix::system::uname().nodename().to_str().ok(), "{series:?}");
        assert_eq!(label("scope.name"), Some("m8refsvr"), "{series:?}");
        assert_eq!(label("process.pid"), None, "{series:?}");
        assert!(series.values.len() as u64 > ROUNDS, "{series:?}");
        assert!(series.values.is_sorted(), "it falls: {series:?}");
        assert!(series.timestamps.is_sorted_by(|one, next| one < next), "{series:?}");
        ends.push((label("process.context_switch.type"), *series.values.last().unwrap()));
    }
    ends.sort_by_key(|(kind, _)| *kind);
    let expected = [(Some("involuntary"), involuntary as f64), (Some("voluntary"), voluntary as f64)];
    assert_eq!(ends, expected, "{stored:#?}");
}
