//! The word count's description and options.

use levada_connector_api::config::{Config, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{Plugin, Result, Transform, TransformPlugin};

use super::transform::WordCountTransform;

/// The plugin `WordCount`.
#[derive(Debug, Clone, Copy, Default)]
pub struct WordCount;

impl Plugin for WordCount {
    fn name(&self) -> &str {
        "WordCount"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Counts how often each word of a text column has been seen."
    }

    fn config_def(&self) -> ConfigDef {
        let text = |name, importance, doc, default: &str| {
            ConfigKey::new(name, ConfigType::String, importance, doc).default(default).validator(Validator::non_empty())
        };
        ConfigDef::new()
            .key(text("column", Importance::High, "The column with the text; it must be a string.", "value"))
            .key(
                ConfigKey::new(
                    "split",
                    ConfigType::String,
                    Importance::High,
                    "What separates words. `space`: each single space, as Spark's `split(value, ' ')` does it, so that \
                     an empty line is one empty word and two spaces have an empty word between them. `whitespace`: any \
                     run of Unicode white space; there are no empty words.",
                )
                .default("space")
                .one_of(&["space", "whitespace"]),
            )
            .key(
                ConfigKey::new(
                    "lower.case",
                    ConfigType::Boolean,
                    Importance::Medium,
                    "Whether words are counted in lower case, by Unicode's rules.",
                )
                .default(false),
            )
            .key(text("word.column", Importance::Low, "The output column with the word.", "word"))
            .key(text("count.column", Importance::Low, "The output column with the count.", "count"))
            .key(
                ConfigKey::new(
                    "threads",
                    ConfigType::Int,
                    Importance::Low,
                    "How many threads count. Not given: as many as the machine has cores.",
                )
                .optional()
                .validator(Validator::between(1, 256)),
            )
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        let word = config.string("word.column");
        if word != config.string("count.column") {
            return Vec::new();
        }
        let message = format!("it must differ from {}", config.full_key("word.column"));
        vec![ConfigError::invalid("count.column", word, message)]
    }
}

impl TransformPlugin for WordCount {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        if let Some(error) = self.validate(config).into_iter().next() {
            return Err(error.prefixed(&config.full_key("")).into());
        }
        Ok(Box::new(WordCountTransform::new(Options::read(config))))
    }
}

/// What separates words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// Each single space.
    Space,
    /// Each run of white space.
    Whitespace,
}

impl Split {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Space => "space",
            Self::Whitespace => "whitespace",
        }
    }
}

/// The options, read.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) column: String,
    pub(super) split: Split,
    pub(super) lower_case: bool,
    pub(super) word_column: String,
    pub(super) count_column: String,
    pub(super) threads: usize,
    /// What stands before the options' names in the configuration, for messages.
    pub(super) prefix: String,
}

impl Options {
    pub(super) fn read(config: &Config) -> Self {
        let split = match config.string("split").to_ascii_lowercase().as_str() {
            "whitespace" => Split::Whitespace,
            _ => Split::Space,
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = config.int_opt("threads").and_then(|threads| usize::try_from(threads).ok());
        Self {
            column: config.string("column"),
            split,
            lower_case: config.bool("lower.case"),
            word_column: config.string("word.column"),
            count_column: config.string("count.column"),
            threads: threads.unwrap_or_else(cores).clamp(1, 256),
            prefix: config.full_key(""),
        }
    }
}
