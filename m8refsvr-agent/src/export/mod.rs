//! The ways out.

pub mod document;
pub mod map_dump;
pub mod otlp;
