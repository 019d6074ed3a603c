//! The deduplication's description and options.

use levada_connector_api::config::{Config, ConfigDef, ConfigKey, ConfigType, Importance};
use levada_connector_api::{Plugin, Result, Transform, TransformPlugin};

use super::transform::DeduplicateTransform;

/// The plugin `Deduplicate`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deduplicate;

impl Plugin for Deduplicate {
    fn name(&self) -> &str {
        "Deduplicate"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Passes the first row of each key and drops the others, over micro-batches."
    }

    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    "columns",
                    ConfigType::List,
                    Importance::High,
                    "The columns that make a row's key. When the column with the watermark is among them, keys are \
                     forgotten as the watermark passes them; otherwise they are kept for ever. Default: all.",
                )
                .default(""),
            )
            .key(
                ConfigKey::new(
                    "within.watermark",
                    ConfigType::Boolean,
                    Importance::High,
                    "Whether a key is forgotten when the watermark's delay has passed since its first row: duplicates are \
                     dropped that are at most that far apart. Needs a watermark.",
                )
                .default(false),
            )
    }
}

impl TransformPlugin for Deduplicate {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        let columns = config.list("columns");
        Ok(Box::new(DeduplicateTransform::new(columns, config.bool("within.watermark"), config.full_key(""))))
    }
}
