//! Plain data of one look. Knows no names of metrics, and nothing of where values come from or how they leave.

pub mod process_attributes;
