//! The ways out.

pub mod document;
pub mod dump;
pub mod otlp;
