//! From samples to named metrics. Totals since the agent's start never decrease, and every metric is defined once, as
//! data. Knows neither where samples come from nor how metrics are exported.

pub mod accumulator;
pub mod aggregate;
pub mod cardinality;
pub mod catalogue;
pub mod churn;
pub mod reference;
pub mod report;
