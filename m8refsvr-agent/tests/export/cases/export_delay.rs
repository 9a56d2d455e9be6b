//! When what was seen is sent: each report in the host's turn, so that hosts don't export all at once.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use m8refsvr_agent::{
    collector::Collector,
    export::otlp::{
        Client, Compression, Counts, Exporter, Instruments, Names, Newest, Overrides, Place, ProcessMessages,
        Protocol, Receiver as OtlpReceiver, resource,
    },
    metrics::report::Reporter,
    proc::{Proc, system::Host},
    service::self_stats::{self, Collections},
    tracker::selector::Selector,
};
use tokio::{runtime::Runtime, sync::watch, task::JoinHandle};

use crate::{
    Case,
    Need::Mock,
    receiver::{Kind, Receiver},
    server::PATIENCE,
};

pub(crate) const CASES: &[Case] = &[IN_TURN, FIRST_AND_LAST];

/// An exporter, and what collections hand over to it.
struct Delivery {
    runtime: Runtime,
    task: JoinHandle<()>,
    newest: watch::Sender<Newest>,
    collector: Collector,
    reporter: Reporter,
    instruments: Instruments,
    counts: Arc<Counts>,
}

impl Delivery {
    fn new(receiver: &Receiver, delay: Duration) -> Self {
        let to = OtlpReceiver {
            protocol: Protocol::Grpc,
            endpoint: format!("http://127.0.0.1:{}/", receiver.grpc_port()).parse().unwrap(),
            proxy: None,
            tls: None,
            headers: http::HeaderMap::new(),
            log_headers: http::HeaderMap::new(),
            compression: Compression::Gzip,
            timeout: PATIENCE,
        };
        let names = Names { otel: true, instana: false };
        let counts = Arc::new(Counts::default());
        let (newest, handed) = watch::channel(Newest::default());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let client = {
            let _within = runtime.enter();
            Client::new(to).unwrap()
        };
        let resource = resource(&Host::this(), &[], Overrides::default()).unwrap();
        let instruments = Instruments::new(names, &resource, 1);
        let exporter = Exporter::new(
            client,
            ProcessMessages::new(names, resource, Place::Resource),
            delay,
            Arc::clone(&counts),
        );
        let task = runtime.spawn(exporter.run(handed));
        let selector = Selector::new(&["no-process-is-called-like-this".to_owned()], &[]).unwrap();
        let collector = Collector::new(Proc::new("/proc"), selector, None);
        let reporter = Reporter::new(SystemTime::now(), vec![String::new()], None);
        Self { runtime, task, newest, collector, reporter, instruments, counts }
    }

    /// One more collection; the last one, where it must be delivered by then.
    fn collect(&mut self, last_by: Option<Instant>) {
        let sample = self.collector.collect().unwrap();
        let agent = self_stats::report(&self.collector, Collections::default(), self.counts.now());
        let report = self.reporter.report(&sample, self_stats::machine(&self.collector), agent, true);
        let payload = self.instruments.collect(report).unwrap();
        self.newest.send_modify(|newest| {
            newest.number += 1;
            newest.payload = Some(Arc::new(payload));
            newest.last_by = last_by.map(Into::into);
        });
    }
}

const IN_TURN: Case = Case::new("a report is sent after the host's export delay", &[Mock], in_turn);

fn in_turn() {
    const TURN: Duration = Duration::from_secs(2);
    let receiver = Receiver::start(Kind::Mock);
    let mut delivery = Delivery::new(&receiver, TURN);
    delivery.collect(None);
    receiver.wait_for("the first export", |exports| exports.len() == 1);
    for number in 2..=3 {
        let before = Instant::now();
        delivery.collect(None);
        receiver.wait_for("the next export", |exports| exports.len() == number);
        assert!(before.elapsed() >= TURN, "it came {:?} after the collection", before.elapsed());
    }
}

const FIRST_AND_LAST: Case = Case::new(
    "the first report and the last are not delayed, and one that waits makes room for a newer one",
    &[Mock],
    first_and_last,
);

fn first_and_last() {
    const NEVER: Duration = Duration::from_secs(86_400);
    let receiver = Receiver::start(Kind::Mock);
    let mut delivery = Delivery::new(&receiver, NEVER);
    delivery.collect(None);
    receiver.wait_for("the first export", |exports| exports.len() == 1);
    delivery.collect(None);
    delivery.collect(Some(Instant::now() + PATIENCE));
    delivery.runtime.block_on(delivery.task).unwrap();
    assert_eq!(receiver.exports().len(), 2);
    assert_eq!(delivery.counts.now().dropped, 1);
}
