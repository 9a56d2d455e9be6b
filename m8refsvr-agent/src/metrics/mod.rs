//! From samples to named metrics: totals since the agent's start, which never go backwards, and everything that leaves,
//! once, as data. Knows neither where samples come from nor how metrics leave.

pub mod accumulator;
pub mod aggregate;
pub mod cardinality;
pub mod catalogue;
pub mod churn;
pub mod reference;
pub mod report;
