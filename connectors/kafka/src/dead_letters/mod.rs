//! Dead letters in a topic.

mod config;
mod letter;
mod queue;

use levada_connector_api::config::{Config, ConfigDef, ConfigError, RawConfig};
use levada_connector_api::{DeadLetterPlugin, DeadLetterQueue, Plugin, Result};

/// The queue `Kafka` for bad rows.
pub struct KafkaDeadLetterPlugin;

impl Plugin for KafkaDeadLetterPlugin {
    fn name(&self) -> &str {
        "Kafka"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Writes bad rows to a topic, as Kafka Connect's dead-letter queue, each once."
    }

    fn config_def(&self) -> ConfigDef {
        config::definition()
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        config::check(config)
    }
}

impl DeadLetterPlugin for KafkaDeadLetterPlugin {
    fn inherit(&self, own: &mut RawConfig, end: &Config) {
        config::inherit(own, end);
    }

    fn create(&self, config: &Config) -> Result<Box<dyn DeadLetterQueue>> {
        Ok(Box::new(queue::Queue::new(config)))
    }
}
