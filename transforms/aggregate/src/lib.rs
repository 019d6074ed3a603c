//! Transforms that aggregate: [`WordCount`].
//!
//! They keep state over micro-batches, which the runtime checkpoints, and answer in Spark's output modes.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod word_count;

pub use word_count::WordCount;

use levada_connector_api::{Registry, Result};

/// Adds the transforms of this crate.
///
/// # Errors
/// One of their names is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_transform(WordCount)
}
