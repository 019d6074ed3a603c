//! The null sink's description.

use levada_connector_api::config::{Config, ConfigDef};
use levada_connector_api::{Guarantee, OutputMode, Plugin, Result, Sink, SinkCapabilities, SinkPlugin};

use super::NullSink;

/// The plugin `Null`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

impl Plugin for Null {
    fn name(&self) -> &str {
        "Null"
    }

    fn aliases(&self) -> &[&str] {
        // Spark's name for the same.
        &["noop"]
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Counts rows, batches and bytes, and forgets them: for measuring what comes before the sink."
    }

    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
    }
}

impl SinkPlugin for Null {
    fn capabilities(&self, _config: &Config) -> SinkCapabilities {
        // Nothing repeated is still nothing.
        SinkCapabilities {
            guarantee: Guarantee::Idempotent,
            modes: &[OutputMode::Append, OutputMode::Update, OutputMode::Complete],
        }
    }

    fn tasks(&self, _: &Config, max: u32) -> u32 {
        max
    }

    fn create(&self, _config: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(NullSink::new()))
    }
}
