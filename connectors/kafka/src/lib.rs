//! Apache Kafka as source and sink, by librdkafka.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod client;
mod config;
mod sink;
mod source;

pub use sink::KafkaSinkPlugin;
pub use source::KafkaSourcePlugin;

use levada_connector_api::{Plugin as _, Registry, Result};

/// Adds the source and the sink `Kafka`, which are those of topics.
///
/// # Errors
/// A name is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_source(KafkaSourcePlugin)?;
    registry.add_sink(KafkaSinkPlugin)?;
    registry.set_topics(KafkaSinkPlugin.name());
    Ok(())
}
