//! Plain data of one collection. Knows nothing of how it is exported; `counter_table` alone has names of metrics, so
//! that a counter is one row.

pub(crate) mod counter_table;
pub mod counters;
pub(crate) mod cpu_time;
pub mod exit;
pub mod identity;
pub mod limit_utilization;
pub mod missing;
pub mod sample;
pub mod source;
