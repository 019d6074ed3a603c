//! Reads topics.

mod columns;
pub(crate) mod decode;
mod drain;
mod ids;
mod infer;
pub(crate) mod keys;
mod partition;
pub(crate) mod places;
mod reader;

use levada_connector_api::config::{Config, ConfigDef, ConfigError};
use levada_connector_api::{Plugin, Result, Source, SourceCapabilities, SourcePlugin};

/// The source `Kafka`.
pub struct KafkaSourcePlugin;

impl Plugin for KafkaSourcePlugin {
    fn name(&self) -> &str {
        "Kafka"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Reads the messages of Kafka topics, raw or decoded into columns."
    }

    fn config_def(&self) -> ConfigDef {
        crate::config::source()
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        crate::config::check_source(config)
    }
}

impl SourcePlugin for KafkaSourcePlugin {
    fn capabilities(&self, _: &Config) -> SourceCapabilities {
        SourceCapabilities { replayable: true, bounded: false }
    }

    fn tasks(&self, config: &Config, max: u32) -> u32 {
        // How many partitions topics have is known to the brokers alone: a task more than that has nothing to do.
        let assigned = config.string_opt("assign").and_then(|text| places::assignment(&text).ok());
        assigned.map_or(max, |places| max.min(u32::try_from(places.len()).unwrap_or(max)))
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Source>> {
        Ok(Box::new(reader::KafkaSource::new(config)?))
    }
}
