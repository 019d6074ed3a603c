//! Aggregates: what is grouped by, what is aggregated, and what is made of the results.

mod functions;
mod grouping;
mod special;

pub use functions::{AggregateCall, AggregateFunction, Overflow};
pub(crate) use functions::{aggregate_names, is_aggregate};
pub use grouping::{Grouping, GroupingSpec};
pub use special::{AggregateParams, Ties};
