//! One attempt to send: the exporters of opentelemetry-otlp and the generated client of opentelemetry-proto, over gRPC
//! or HTTP. Both protocols share one connector with its TLS. A connection is kept open from one export to the next.
//!
//! # What stands between the crates and the network
//!
//! - `http.rs`: a client of our own (hyper), given to the HTTP exporters. They pass on a status, or "network error" for all
//!   else; ours keeps the status, `Retry-After`, `Location`, the body and typed errors.
//! - `grpc_events.rs`: a layer of `tracing`. The gRPC exporters keep the receiver's words and its `RetryInfo` to an event
//!   at `debug`, and points that it rejected to one at `warn`. The layer hands both to the export that is under way; the
//!   crate's own lines stay out of the log.
//! - The interceptor in `channel.rs` replaces the metadata that the crate reads from the environment by itself. The crate
//!   would take an empty variable for one that is set, and would not mark values as secret.
//! - Each request is made in a task of its own (`request_task.rs`): tonic panics at a `grpc-status-details-bin` that is not base64.
//!   That costs one failed export.
//! - `connector.rs`: one connector with one TLS stack (rustls) for both protocols. tonic's own TLS is not built in, so that
//!   files are renewed, and errors reported, in one way. Exporters and connections are made anew when files change, or when a
//!   connection may be dead.
//! - `connections.rs`: an executor whose tasks can be ended. A connection goes on by itself until all that it was given is
//!   sent, which a receiver that reads no more can put off for ever.
//! - `tunnel.rs`: our own CONNECT. That of hyper-util loses the proxy's status, and takes for a part of the proxy's answer
//!   what an HTTP/2 receiver says first.
//! - `tls_verifier.rs`: rustls refuses a server's certificate that is an authority's, as `openssl req -x509` makes them. It
//!   is taken where the user gave that very certificate, and its name and time are right.
//! - `events.rs`: a queue of our own, as the SDK's batch processor wakes up each second.

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
