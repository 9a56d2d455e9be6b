//! Export by OTLP. An export has two kinds of requests, because the SDK has one resource for each provider.
//! `instruments` collects the sums of the groups and the agent's own metrics with the SDK, and opentelemetry-otlp
//! exports them. `messages` makes what the SDK can't export, a resource for each process, from opentelemetry-proto's
//! types. `exporter` sends both as one export, the newest only, until it succeeds. `transport` makes one attempt, and
//! reports why it failed.

mod events;
mod exporter;
mod instruments;
mod messages;
mod resource;
mod retry;
#[cfg(test)]
mod tests;
mod transport;
mod user_names;

pub use events::{Dropped, ExitEvents, LogSender, exit_events};
pub use exporter::{Counts, Exporter, Newest, attempt};
pub use instruments::{Instruments, Names, Payload};
pub use messages::{LIMIT, Place, ProcessMessages};
pub use resource::{NoAttribute, Overrides, Resource, number, resource};
pub(crate) use transport::grpc_events;
pub use transport::{
    Client, Compression, ExportError, FileOfTls, Files, Presented, Protocol, Proxy, ProxyError, Receiver,
    TlsError, authorities_in, connect, keep_panics_of_requests, key_in, probe,
};
