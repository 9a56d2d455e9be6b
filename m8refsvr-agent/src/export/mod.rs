//! The ways out.

pub mod document;
pub mod dump;
