//! How plugins describe themselves and are made.

use crate::config::{Config, ConfigDef, ConfigError};
use crate::{Result, Sink, SinkCapabilities, Source, SourceCapabilities, Transform};

/// What a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginKind {
    /// A source of rows.
    Source,
    /// A transform.
    Transform,
    /// A sink.
    Sink,
}

impl PluginKind {
    /// The kind's name in lists and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transform => "transform",
            Self::Sink => "sink",
        }
    }
}

/// What all plugins say about themselves. Implementations hold no state: they are asked at any time, from any thread.
pub trait Plugin: Send + Sync {
    /// The class name in configurations: `Files`.
    fn name(&self) -> &str;

    /// Other names: those of Kafka Connect's or Spark's class for the same job.
    fn aliases(&self) -> &[&str] {
        &[]
    }

    /// The version, as in the crate's manifest.
    fn version(&self) -> &str;

    /// What it does, in a sentence.
    fn doc(&self) -> &str;

    /// Its options.
    fn config_def(&self) -> ConfigDef;

    /// Checks what no single key can tell: options that exclude each other. The values have passed the definition.
    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        let _ = config;
        Vec::new()
    }
}

/// Makes sources.
pub trait SourcePlugin: Plugin {
    /// What the sources can do under `config`.
    fn capabilities(&self, config: &Config) -> SourceCapabilities;

    /// Splits the work over at most `max_tasks` tasks. Each answer is the configuration of one task.
    fn split(&self, config: &Config, max_tasks: usize) -> Result<Vec<Config>> {
        let _ = max_tasks;
        Ok(vec![config.clone()])
    }

    /// Makes a source. Does no I/O.
    fn create(&self, config: &Config) -> Result<Box<dyn Source>>;
}

/// Makes transforms.
pub trait TransformPlugin: Plugin {
    /// Makes a transform. Does no I/O.
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>>;
}

/// Makes sinks.
pub trait SinkPlugin: Plugin {
    /// What the sinks can do under `config`.
    fn capabilities(&self, config: &Config) -> SinkCapabilities;

    /// Makes a sink. Does no I/O.
    fn create(&self, config: &Config) -> Result<Box<dyn Sink>>;
}
