//! Plain data of one collection. Knows no names of metrics, and nothing of where values come from or how they leave.

pub mod counters;
pub mod exit;
pub mod limit_utilization;
pub mod missing;
pub mod sample;
pub mod source;
