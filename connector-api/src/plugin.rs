//! How plugins describe themselves and are made.

use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;

use crate::config::{Config, ConfigDef, ConfigError, RawConfig};
use crate::{DeadLetterQueue, Result, Sink, SinkCapabilities, Source, SourceCapabilities, Transform};

/// What a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginKind {
    /// A source of rows.
    Source,
    /// A transform.
    Transform,
    /// A sink.
    Sink,
    /// A queue for bad rows.
    DeadLetters,
}

impl PluginKind {
    /// The kind's name in lists and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transform => "transform",
            Self::Sink => "sink",
            Self::DeadLetters => "dead-letters",
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
    /// The errors have the keys as the definition has them: whoever asks knows what stands before them.
    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        let _ = config;
        Vec::new()
    }
}

/// Makes sources.
pub trait SourcePlugin: Plugin {
    /// What the sources can do under `config`.
    fn capabilities(&self, config: &Config) -> SourceCapabilities;

    /// Over how many tasks, `max` at most, the work can be split. Above 1, each task opens a source of its own, which reads
    /// only its share of the partitions: see [`Source::open`](crate::Source::open).
    fn tasks(&self, config: &Config, max: u32) -> u32 {
        let _ = (config, max);
        1
    }

    /// Whether sources under `config` would read a local file of this absolute path, if it were there: so that a pipeline
    /// that would read what it writes is refused. Does no I/O.
    fn would_read(&self, config: &Config, file: &Path) -> bool {
        let _ = (config, file);
        false
    }

    /// Makes a source. Does no I/O.
    fn create(&self, config: &Config) -> Result<Box<dyn Source>>;
}

/// Makes transforms.
pub trait TransformPlugin: Plugin {
    /// Makes a transform. Does no I/O.
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>>;

    /// Makes one transform that does the work of several of this plugin's in a row, each reading what the one before
    /// yields: their aliases and configurations, in order. `None`: they are run one by one. Each of them could be made by
    /// itself. The runtime knows the transform by the last alias, and under it keeps its state; what it says of rows and
    /// errors should name the alias concerned.
    fn chain(&self, parts: &[(&str, &Config)]) -> Option<Box<dyn Transform>> {
        let _ = parts;
        None
    }
}

/// Makes sinks.
pub trait SinkPlugin: Plugin {
    /// What the sinks can do under `config`.
    fn capabilities(&self, config: &Config) -> SinkCapabilities;

    /// How many tasks, `max` at most, may write at the same time, each through a sink of its own that knows it by the
    /// task's number.
    fn tasks(&self, config: &Config, max: u32) -> u32 {
        let _ = (config, max);
        1
    }

    /// Whether rows of `schema` can be written under `config`, as [`Sink::open`](crate::Sink::open) would find out. Does no
    /// I/O.
    ///
    /// # Errors
    /// They cannot; the error names the column.
    fn check(&self, config: &Config, schema: &SchemaRef) -> Result<()> {
        let _ = (config, schema);
        Ok(())
    }

    /// The absolute path of a local file such as sinks under `config` write, if they write any. Does no I/O.
    fn would_write(&self, config: &Config) -> Option<PathBuf> {
        let _ = config;
        None
    }

    /// Makes a sink. Does no I/O.
    fn create(&self, config: &Config) -> Result<Box<dyn Sink>>;
}

/// Makes queues for bad rows.
pub trait DeadLetterPlugin: Plugin {
    /// Completes `own`, the queue's options as they were given, from those of the pipeline's source or sink of the same
    /// name: how the servers are reached.
    fn inherit(&self, own: &mut RawConfig, end: &Config) {
        let _ = (own, end);
    }

    /// Makes a queue. Does no I/O.
    fn create(&self, config: &Config) -> Result<Box<dyn DeadLetterQueue>>;
}
