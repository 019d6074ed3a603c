//! Aggregates: what is grouped by, what is aggregated, and what is made of the results.

mod functions;
mod grouping;

pub(crate) use functions::is_aggregate;
pub use functions::{AggregateCall, AggregateFunction, Overflow};
pub use grouping::{Grouping, GroupingSpec};
