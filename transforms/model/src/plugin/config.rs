//! The transform's description and options.

use std::path::PathBuf;

use levada_connector_api::config::{Config, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{Plugin, Result, Transform, TransformPlugin};

use super::transform::DecisionTreeTransform;
use crate::model::Invalid;

/// The plugin `DecisionTree`.
#[derive(Debug, Clone, Copy, Default)]
pub struct DecisionTree;

impl Plugin for DecisionTree {
    fn name(&self) -> &str {
        "DecisionTree"
    }

    fn aliases(&self) -> &[&str] {
        &["TreeModel"]
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Scores each row with a tree model of Spark ML, ONNX, XGBoost or LightGBM."
    }

    fn config_def(&self) -> ConfigDef {
        let column = |name: &str, doc: &str| {
            ConfigKey::new(name, ConfigType::String, Importance::Medium, doc)
                .optional()
                .group("Output")
                .validator(Validator::non_empty())
        };
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    "model",
                    ConfigType::String,
                    Importance::High,
                    "The model: a folder of Spark ML (also a PipelineModel), an ONNX file, XGBoost's JSON or UBJSON, \
                     LightGBM's text. The format is told by the content.",
                )
                .validator(Validator::non_empty()),
            )
            .key(
                ConfigKey::new(
                    "features",
                    ConfigType::List,
                    Importance::High,
                    "The columns that the model reads, in its order. Not given: those that the model names.",
                )
                .optional(),
            )
            .key(
                ConfigKey::new("output", ConfigType::String, Importance::High, "The column with the prediction.")
                    .default("prediction")
                    .group("Output")
                    .validator(Validator::non_empty()),
            )
            .key(column("label.column", "A column with the predicted class's label, where the model has labels."))
            .key(column("probability.column", "A column with the probabilities of the classes."))
            .key(column("raw.column", "A column with the raw predictions: votes or margins."))
            .key(column("leaf.column", "A column with the leaf that each tree led to, as the format numbers leaves."))
            .key(column("variance.column", "A column with the variance at the leaf (Spark's regression tree)."))
            .key(column("version.column", "A column with the version of the model: a hash of its files."))
            .key(
                ConfigKey::new(
                    "handle.invalid",
                    ConfigType::String,
                    Importance::Medium,
                    "What becomes of a row that the model cannot take: null or NaN, or an unseen label. `error`: it is a \
                     bad row. `skip`: it is left out. `keep`: it is scored, as missing or as a category of its own. Not \
                     given: what the model says; without word from it, Spark's models refuse null and NaN, and the others \
                     take them for missing.",
                )
                .optional()
                .one_of(&["error", "skip", "keep"]),
            )
            .key(
                ConfigKey::new(
                    "reload",
                    ConfigType::Boolean,
                    Importance::Medium,
                    "Whether a model that is replaced is loaded between two micro-batches. One that does not load or does \
                     not fit is refused with a warning, and the old one goes on.",
                )
                .default(true),
            )
            .key(
                ConfigKey::new(
                    "drift",
                    ConfigType::Boolean,
                    Importance::Low,
                    "Whether each micro-batch's ranges of features and counts of predicted classes are in its metrics.",
                )
                .default(true),
            )
            .key(
                ConfigKey::new(
                    "threads",
                    ConfigType::Int,
                    Importance::Low,
                    "How many threads score. Not given: as many as the machine has cores.",
                )
                .optional()
                .validator(Validator::between(1, 256)),
            )
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        let options = Options::read(config);
        let columns = options.columns();
        let twice = |at: usize, name: &str| columns.iter().take(at).any(|(_, other)| *other == name);
        let errors = columns.iter().enumerate().filter(|(at, (_, name))| twice(*at, name));
        let message = "another output column has this name";
        errors.map(|(_, (key, name))| ConfigError::invalid(config.full_key(key), *name, message)).collect()
    }
}

impl TransformPlugin for DecisionTree {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        if let Some(error) = self.validate(config).into_iter().next() {
            return Err(error.into());
        }
        Ok(Box::new(DecisionTreeTransform::new(Options::read(config))))
    }
}

/// The options, read.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) model: PathBuf,
    pub(super) features: Option<Vec<String>>,
    pub(super) output: String,
    pub(super) label: Option<String>,
    pub(super) probability: Option<String>,
    pub(super) raw: Option<String>,
    pub(super) leaf: Option<String>,
    pub(super) variance: Option<String>,
    pub(super) version: Option<String>,
    pub(super) invalid: Option<Invalid>,
    pub(super) reload: bool,
    pub(super) drift: bool,
    pub(super) threads: usize,
    /// What stands before the options' names in the configuration, for messages.
    pub(super) prefix: String,
}

impl Options {
    fn read(config: &Config) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = config.int_opt("threads").and_then(|threads| usize::try_from(threads).ok());
        let features = config.list_opt("features").filter(|features| !features.is_empty());
        Self {
            model: PathBuf::from(config.string("model")),
            features,
            output: config.string("output"),
            label: config.string_opt("label.column"),
            probability: config.string_opt("probability.column"),
            raw: config.string_opt("raw.column"),
            leaf: config.string_opt("leaf.column"),
            variance: config.string_opt("variance.column"),
            version: config.string_opt("version.column"),
            invalid: config.string_opt("handle.invalid").and_then(|name| Invalid::parse(&name)),
            reload: config.bool("reload"),
            drift: config.bool("drift"),
            threads: threads.unwrap_or_else(cores).clamp(1, 256),
            prefix: config.full_key(""),
        }
    }

    /// The output columns that are asked for, with the options that name them.
    pub(super) fn columns(&self) -> Vec<(&'static str, &str)> {
        let optional = [
            ("label.column", &self.label),
            ("probability.column", &self.probability),
            ("raw.column", &self.raw),
            ("leaf.column", &self.leaf),
            ("variance.column", &self.variance),
            ("version.column", &self.version),
        ];
        let given = optional.into_iter().filter_map(|(key, name)| Some((key, name.as_deref()?)));
        std::iter::once(("output", self.output.as_str())).chain(given).collect()
    }
}
