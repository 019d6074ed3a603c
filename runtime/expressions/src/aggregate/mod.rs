//! Aggregates: what is grouped by, what is aggregated, and what is made of the results.

mod functions;
mod grouping;
mod names;
mod pairs;
mod sets;
mod special;

pub use functions::{AggregateCall, AggregateFunction, Overflow};
pub(crate) use functions::{aggregate_names, is_aggregate};
pub use grouping::{Grouping, GroupingSpec};
pub use pairs::PairFunction;
pub use special::{AggregateParams, Ties};
