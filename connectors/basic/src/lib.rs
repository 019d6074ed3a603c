//! The connectors that need nothing outside the process: a console to look at, a generator to try with, and a null
//! sink to measure with.
//!
//! - [`console`]: prints micro-batches as Spark prints its tables;
//! - [`datagen`]: generates rows from a seed, any of them without the rows before it;
//! - [`null`]: counts rows and forgets them.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod console;
pub mod datagen;
pub mod null;

use levada_connector_api::{Registry, Result};

/// Adds the plugins of this crate to `registry`.
///
/// # Errors
/// One of their names is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_sink(console::Console)?;
    registry.add_source(datagen::Datagen)?;
    registry.add_sink(null::Null)
}
