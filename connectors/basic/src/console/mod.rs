//! A sink that prints micro-batches as Spark prints its tables.

mod cell;
mod config;
mod sink;
mod table;

pub use config::{Console, Options};
pub use sink::{ConsoleSink, SharedWriter};
