//! Spark SQL expressions, and the transforms that are made of them: [`Filter`] and [`Select`].
//!
//! Expressions follow Spark 4.1: its grammar, its types, its implicit casts, ANSI mode as the default. They are compiled
//! to DataFusion's physical expressions once, when a pipeline starts, and evaluated on columns.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod filter;
mod filter_project;
mod order;
mod query;
mod select;

pub use filter::{Filter, FilterPlugin};
pub use query::SqlPlugin;
pub use select::{Select, SelectPlugin};

use levada_connector_api::{Registry, Result};

/// The names of the functions and of the aggregates, in the order of the alphabet.
pub fn functions() -> (Vec<&'static str>, Vec<&'static str>) {
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names
    };
    (sorted(levada_expressions::function_names()), sorted(levada_expressions::aggregate_names()))
}

/// Adds the transforms of this crate.
///
/// # Errors
/// One of their names is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_transform(FilterPlugin)?;
    registry.add_transform(SelectPlugin)?;
    registry.add_transform(SqlPlugin)
}
