//! Plain data of one collection. Knows neither names of metrics nor where values come from or how they are exported.

pub(crate) mod counter_table;
pub mod counters;
pub(crate) mod cpu_time;
pub mod exit;
pub mod limit_utilization;
pub mod missing;
pub mod sample;
pub mod source;
