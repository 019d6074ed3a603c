//! Apache Kafka as source and sink, by librdkafka.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod client;
mod config;
mod dead_letters;
mod sink;
mod source;

pub use dead_letters::KafkaDeadLetterPlugin;
pub use sink::KafkaSinkPlugin;
pub use source::KafkaSourcePlugin;

use levada_connector_api::{Plugin as _, Registry, Result};

/// Adds the source and the sink `Kafka`, which are those of topics, and the queue for dead letters.
///
/// # Errors
/// A name is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_source(KafkaSourcePlugin)?;
    registry.add_sink(KafkaSinkPlugin)?;
    registry.set_topics(KafkaSinkPlugin.name());
    registry.add_dead_letters(KafkaDeadLetterPlugin)
}
