//! A receiver of OTLP that others wrote, and what it received in one form, whichever it is.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Condvar, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::ResourceMetrics,
    resource::v1::Resource,
};

use crate::{
    mock, rotel, send,
    server::{self, PATIENCE, Ports, Server},
};

/// The resource attribute by which a receiver's reader knows a mark: a request of the test's own, after which all
/// that was received before is known to have been printed.
pub(crate) const MARK: &str = "test.mark";

/// Whose receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rotel, in Rust with tonic and hyper.
    Rotel,
    /// The same, which takes metrics alone.
    RotelWithoutLogs,
    /// Elastic's mockotlpserver, in JavaScript with grpc-js and Node's HTTP.
    Mock,
}

/// What one request brought. A request with several resources is an export for each of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Export {
    pub(crate) resource: BTreeMap<String, String>,
    /// Names and versions.
    pub(crate) scopes: Vec<(String, String)>,
    pub(crate) points: Vec<Point>,
}

/// A number, or a histogram, with all that belongs to it. No exemplars are read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) scope: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) description: String,
    pub(crate) kind: PointKind,
    pub(crate) attributes: BTreeMap<String, String>,
    /// 0 where it is not set.
    pub(crate) start_ns: u64,
    pub(crate) time_ns: u64,
    /// Of a histogram the sum.
    pub(crate) value: f64,
    /// Of a histogram the upper bounds of its buckets.
    pub(crate) bounds: Vec<f64>,
    /// Of a histogram how many values are in each.
    pub(crate) buckets: Vec<u64>,
}

impl Export {
    /// Its points, with the attributes by which the resource differs from those of all other processes.
    pub(crate) fn points_by_process(&self) -> impl Iterator<Item = Point> {
        let identity = ["process.pid", "process.creation.time", "process.executable.name"];
        let identity = identity.map(|name| self.resource.get_key_value(name));
        let identity: BTreeMap<String, String> =
            identity.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
        self.points.iter().cloned().map(move |mut point| {
            point.attributes.extend(identity.clone());
            point
        })
    }
}

/// What kind of metric a point belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointKind {
    Gauge,
    Sum {
        monotonic: bool,
        /// Otherwise of delta temporality.
        cumulative: bool,
    },
    Histogram {
        cumulative: bool,
    },
}

/// A log record, with all that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) scope: String,
    /// The name of the event that it is, empty where it is none.
    pub(crate) event: String,
    pub(crate) time_ns: u64,
    pub(crate) observed_ns: u64,
    pub(crate) severity: u64,
    pub(crate) severity_text: String,
    pub(crate) body: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// What the lines of a receiver's output say.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) exports: Vec<Export>,
    /// Those of [`Kind::Mock`] alone.
    pub(crate) records: Vec<Record>,
    /// The last mark: what was received before it is complete.
    pub(crate) mark: u64,
}

/// Takes a line of a receiver's output; whether it was about exports.
type Read = Box<dyn FnMut(&str, &mut Seen) -> bool + Send>;

/// A running receiver; it ends when dropped.
pub(crate) struct Receiver {
    server: Server,
    ports: Ports,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    marks: Mutex<u64>,
}

impl Receiver {
    /// Starts a receiver on ports of the system's choosing; returns once it takes requests.
    pub(crate) fn start(kind: Kind) -> Self {
        server::on_free_ports(|ports| Self::try_start(kind, ports))
    }

    /// Starts a receiver where another was.
    pub(crate) fn start_at(kind: Kind, grpc: u16, http: u16) -> Self {
        server::on_ports(Ports { grpc, http }, |ports| Self::try_start(kind, ports))
    }

    fn try_start(kind: Kind, ports: Ports) -> Result<Self, String> {
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let reader = Arc::clone(&seen);
        let (mut command, mut read): (Command, Read) = match kind {
            Kind::Rotel | Kind::RotelWithoutLogs => {
                let mut reader = rotel::Reader::default();
                let takes_logs = kind == Kind::Rotel;
                let command = if takes_logs { rotel::command } else { rotel::command_without_logs };
                (command(ports), Box::new(move |line, seen| reader.read(line, seen)))
            }
            Kind::Mock => (mock::command(ports), Box::new(mock::read)),
        };
        let server = Server::start(&mut command, ports, move |line| {
            let (seen, changed) = &*reader;
            let understood = read(line, &mut seen.lock().unwrap());
            changed.notify_all();
            understood
        })?;
        let receiver = Self { server, ports, seen, marks: Mutex::new(0) };
        receiver.exports();
        Ok(receiver)
    }

    pub(crate) fn grpc_port(&self) -> u16 {
        self.ports.grpc
    }

    pub(crate) fn http_port(&self) -> u16 {
        self.ports.http
    }

    /// All metrics that were received so far, in order. What the receiver has answered before is certainly in it.
    pub(crate) fn exports(&self) -> Vec<Export> {
        self.seen(|seen| seen.exports.clone())
    }

    /// As [`Self::exports`], of log records; [`Kind::Mock`] prints them.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.seen(|seen| seen.records.clone())
    }

    fn seen<T>(&self, what: impl FnOnce(&Seen) -> T) -> T {
        // One at a time: a later mark says nothing of an earlier one's place.
        let mut marks = self.marks.lock().unwrap();
        *marks += 1;
        let mark = *marks;
        let status = send::http(self.ports.http, &mark_of(mark));
        assert_eq!(status, 200, "the receiver does not take a mark");
        let (seen, changed) = &*self.seen;
        let (seen, _) =
            changed.wait_timeout_while(seen.lock().unwrap(), PATIENCE, |seen| seen.mark < mark).unwrap();
        assert!(seen.mark >= mark, "the receiver does not print a mark: {}", self.printed());
        what(&seen)
    }

    /// Waits until what was received is enough; `what` is what is waited for.
    pub(crate) fn wait_for(&self, what: &str, enough: impl Fn(&[Export]) -> bool) -> Vec<Export> {
        let poll = || Some(self.exports()).filter(|exports| enough(exports));
        server::wait_for(what, poll, || summary(&self.exports()) + &self.printed())
    }

    /// Waits until so many log records were received.
    pub(crate) fn wait_for_records(&self, number: usize) -> Vec<Record> {
        let poll = || Some(self.records()).filter(|records| records.len() >= number);
        server::wait_for(&format!("{number} log records"), poll, || {
            format!("{:#?} {}", self.records(), self.printed())
        })
    }

    fn printed(&self) -> String {
        self.server.printed()
    }
}

fn mark_of(number: u64) -> ExportMetricsServiceRequest {
    let value = AnyValue { value: Some(Value::StringValue(number.to_string())) };
    let attribute = KeyValue { key: MARK.to_owned(), value: Some(value), ..KeyValue::default() };
    let resource = Resource { attributes: vec![attribute], ..Resource::default() };
    let metrics = ResourceMetrics { resource: Some(resource), ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![metrics] }
}

/// What came, for who reads why a test failed.
fn summary(exports: &[Export]) -> String {
    let mut text = format!("{} exports came\n", exports.len());
    for (number, export) in exports.iter().enumerate() {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for point in &export.points {
            *names.entry(&point.name).or_default() += 1;
        }
        text += &format!("#{number}: {:?}, points: {names:?}\n", export.resource);
    }
    text
}
