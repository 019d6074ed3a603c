//! The console's options.

use levada_connector_api::config::{Config, ConfigDef, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{Error, Guarantee, OutputMode, Plugin, Result, Sink, SinkCapabilities, SinkPlugin};

use super::ConsoleSink;

/// How wide a cell is when `truncate` is `true`.
const DEFAULT_WIDTH: usize = 20;

/// The plugin `Console`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Console;

impl Plugin for Console {
    fn name(&self) -> &str {
        "Console"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Prints each micro-batch to standard output as a table, as Spark's console sink does."
    }

    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    "truncate",
                    ConfigType::String,
                    Importance::Medium,
                    "Whether long cells are cut: `true` cuts them to 20 characters, a number to as many, `false` \
                     shows all of them and aligns cells to the left.",
                )
                .default("true")
                .validator(Validator::new("true, false or a number of characters", |text| {
                    parse_truncate(text).map(drop)
                })),
            )
            .key(
                ConfigKey::new(
                    "num.rows",
                    ConfigType::Int,
                    Importance::Medium,
                    "How many rows of a micro-batch are shown.",
                )
                .default(20)
                .validator(Validator::at_least(0)),
            )
    }
}

impl SinkPlugin for Console {
    fn capabilities(&self, _config: &Config) -> SinkCapabilities {
        // What is printed cannot be taken back.
        SinkCapabilities {
            guarantee: Guarantee::AtLeastOnce,
            modes: &[OutputMode::Append, OutputMode::Update, OutputMode::Complete],
        }
    }

    fn tasks(&self, _: &Config, max: u32) -> u32 {
        max
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(ConsoleSink::new(Options::read(config)?)))
    }
}

/// The options, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Characters a cell; 0 shows all.
    pub truncate: usize,
    /// Rows that are shown.
    pub num_rows: usize,
}

impl Options {
    /// Reads a configuration that has passed the definition.
    ///
    /// # Errors
    /// `truncate` is none of its valid values, which the definition has checked before.
    pub fn read(config: &Config) -> Result<Self> {
        let truncate = parse_truncate(&config.string("truncate"))
            .map_err(|message| Error::config(format!("{}: {message}", config.full_key("truncate"))))?;
        Ok(Self { truncate, num_rows: usize::try_from(config.int("num.rows")).unwrap_or(0) })
    }
}

fn parse_truncate(text: &str) -> Result<usize, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(DEFAULT_WIDTH),
        "false" => Ok(0),
        number => number.parse().map_err(|_| "use true, false or a number of characters".to_owned()),
    }
}
