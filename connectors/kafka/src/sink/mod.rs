//! Writes to topics.

mod bulk;
mod deliveries;
pub(crate) mod fence;
pub(crate) mod producer;
pub(crate) mod progress;
mod rows;
mod settle;
mod stall;
pub(crate) mod topics;
pub(crate) mod transaction;
mod writer;

use levada_connector_api::config::{Config, ConfigDef, ConfigError};
use levada_connector_api::{Guarantee, OutputMode, Plugin, Result, Sink, SinkCapabilities, SinkPlugin};

/// The sink `Kafka`.
pub struct KafkaSinkPlugin;

impl Plugin for KafkaSinkPlugin {
    fn name(&self) -> &str {
        "Kafka"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Writes rows to Kafka topics, a transaction a micro-batch."
    }

    fn config_def(&self) -> ConfigDef {
        crate::config::sink()
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        crate::config::check_sink(config)
    }
}

fn exactly_once(config: &Config) -> bool {
    config.string("delivery.guarantee").eq_ignore_ascii_case("exactly-once")
}

impl SinkPlugin for KafkaSinkPlugin {
    fn capabilities(&self, config: &Config) -> SinkCapabilities {
        let guarantee = if exactly_once(config) { Guarantee::Transactional } else { Guarantee::AtLeastOnce };
        SinkCapabilities { guarantee, modes: &[OutputMode::Append, OutputMode::Update] }
    }

    fn tasks(&self, _: &Config, max: u32) -> u32 {
        max
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(writer::KafkaSink::new(config)))
    }
}
