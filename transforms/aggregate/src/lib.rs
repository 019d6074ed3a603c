//! Transforms that keep state over micro-batches: [`WindowedAggregate`], [`WordCount`], [`Deduplicate`]; and what they
//! need beside them: [`Watermark`], [`Union`].
//!
//! The runtime checkpoints the state. What is emitted when follows Spark Structured Streaming, to the batch.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod accumulate;
mod dedup;
mod grouped;
mod keys;
mod times;
mod union;
mod watermark;
mod word_count;

pub use accumulate::canonical;
pub use dedup::Deduplicate;
pub use grouped::{Grouped, GroupedSpec, TimeSpec, WindowedAggregate};
pub use union::Union;
pub use watermark::Watermark;
pub use word_count::WordCount;

use levada_connector_api::{Registry, Result};

/// Adds the transforms of this crate.
///
/// # Errors
/// One of their names is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_transform(Deduplicate)?;
    registry.add_transform(Union)?;
    registry.add_transform(Watermark)?;
    registry.add_transform(WindowedAggregate)?;
    registry.add_transform(WordCount)
}
