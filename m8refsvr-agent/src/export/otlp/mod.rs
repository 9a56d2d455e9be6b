//! The way out by OTLP. Data flows from `encode` (a report becomes messages) over `split` (messages of a size that
//! every receiver takes) to `client` (one attempt to send them), which `deliver` calls until it succeeds. Requests are
//! made of the protocol's own messages: the SDK's meters would keep a second copy of all totals, give no way to split
//! what they export, and tell of refused points in their log alone.

mod client;
mod connections;
mod deliver;
mod encode;
mod error;
mod grpc;
mod handshake;
mod http;
mod noted;
mod resource;
mod split;
mod tls;

pub use client::{Client, Compression, Protocol, Target};
pub use deliver::{Counts, Deliverer, Newest, attempt};
pub use encode::{Names, metrics};
pub use error::ExportError;
pub use handshake::{Shown, handshake};
pub use resource::{NoAttribute, number, resource};
pub use split::{LIMIT, requests};
pub use tls::{Files, TlsError, authorities_in, key_in};
