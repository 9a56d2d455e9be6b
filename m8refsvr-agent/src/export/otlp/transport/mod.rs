//! One attempt to send: the exporters of opentelemetry-otlp and the generated client of opentelemetry-proto, over gRPC
//! or HTTP. Both protocols share one connector with its TLS. A connection is kept open from one export to the next.

mod certificates;
mod channel;
mod client;
mod connections;
mod connector;
mod error;
pub(crate) mod grpc_events;
mod http;
mod last_error;
mod log_exporter;
mod partial_success;
mod proxy;
mod receiver;
mod request_task;
mod tls;
mod tls_error;
mod tls_probe;
mod tls_verifier;
mod tunnel;

pub use certificates::{authorities_in, key_in};
pub use client::Client;
pub use connector::connect;
pub use error::ExportError;
pub(super) use log_exporter::Records;
pub(super) use partial_success::Rejected;
pub use proxy::{Proxy, ProxyError};
pub use receiver::{Compression, Protocol, Receiver};
pub use request_task::keep_panics_of_requests;
pub use tls::Files;
pub use tls_error::{FileOfTls, TlsError};
pub use tls_probe::{Presented, probe};
