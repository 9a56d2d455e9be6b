//! Plain data of one collection. Knows no names of metrics, and nothing of where values come from or how they leave.

pub(crate) mod counter_table;
pub mod counters;
pub(crate) mod cpu_time;
pub mod exit;
pub mod limit_utilization;
pub mod missing;
pub mod sample;
pub mod source;
