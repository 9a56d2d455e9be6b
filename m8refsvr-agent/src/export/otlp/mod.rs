//! The way out by OTLP. Data flows from `encode` (which points a report has) over `point` (their bytes), `request`
//! (requests of a size that every receiver takes) and `compression` (as they are sent) to `client` (one attempt to send
//! them), which `deliver` calls until it succeeds. Requests are made directly: the SDK's meters would keep a second copy of all totals, give no way to
//! split what they export, and tell of refused points in their log alone.

mod client;
mod compression;
mod connections;
mod deliver;
mod encode;
mod error;
mod grpc;
mod gzip;
mod handshake;
mod http;
mod noted;
mod point;
mod proxy;
mod request;
mod resource;
mod tls;
pub mod user_names;

pub use client::{Client, Protocol, Target};
pub use compression::{Compression, Message};
pub use deliver::{Counts, Deliverer, Newest, attempt};
pub use encode::{Names, requests};
pub use error::ExportError;
pub use handshake::{Shown, handshake};
pub use proxy::{Proxy, ProxyError};
pub use request::LIMIT;
pub use resource::{NoAttribute, number, resource};
pub use tls::{FileOfTls, Files, TlsError, authorities_in, key_in};
