//! The windowed aggregation's description and options.

use levada_connector_api::config::{Config, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{Error, Plugin, Result, Transform, TransformPlugin};
use levada_expressions::{GroupingSpec, SqlOptions, parse_delay, parse_interval, split_list};

use super::plan::{GroupedSpec, TimeSpec};
use super::transform::Grouped;
use crate::watermark::delay_validator;

/// The plugin `WindowedAggregate`.
#[derive(Debug, Clone, Copy, Default)]
pub struct WindowedAggregate;

fn interval(name: &'static str, importance: Importance, doc: &'static str) -> ConfigKey {
    ConfigKey::new(name, ConfigType::String, importance, doc)
        .optional()
        .validator(Validator::new("an interval such as '20 seconds'", |text| {
            parse_interval(text).map(|_| ()).map_err(|error| error.to_string())
        }))
}

fn list(name: &'static str, importance: Importance, doc: &'static str) -> ConfigKey {
    ConfigKey::new(name, ConfigType::String, importance, doc).validator(Validator::new(
        "a list of expressions",
        |text| match text.trim() {
            "" => Ok(()),
            text => split_list(text).map(|_| ()).map_err(|error| error.to_string()),
        },
    ))
}

impl Plugin for WindowedAggregate {
    fn name(&self) -> &str {
        "WindowedAggregate"
    }

    fn aliases(&self) -> &[&str] {
        &["Aggregate"]
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Groups rows by keys and by windows of event time, and aggregates them over micro-batches."
    }

    fn config_def(&self) -> ConfigDef {
        use Importance::{High, Low, Medium};
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    "time",
                    ConfigType::String,
                    High,
                    "The column with the event time: a timestamp, or the window of an aggregation before this one. Needed \
                     with window and session.gap.",
                )
                .optional(),
            )
            .key(
                ConfigKey::new(
                    "watermark",
                    ConfigType::String,
                    High,
                    "How long after a later event an event may still come; puts a watermark on the event time. A window is \
                     complete, and its rows are late, once the latest event less this is at its end. A month is 31 days. \
                     Not needed when a Watermark stands before.",
                )
                .optional()
                .validator(delay_validator()),
            )
            .key(interval("window", High, "How long a window is."))
            .key(interval("slide", Medium, "How far apart windows begin. Default: as far as they are long."))
            .key(interval(
                "offset",
                Low,
                "By how much the beginnings of windows differ from multiples of the slide since 1970.",
            ))
            .key(
                ConfigKey::new(
                    "session.gap",
                    ConfigType::String,
                    High,
                    "Sessions instead of windows: rows of a key that are at most this far apart. An interval, or an \
                     expression that gives one for each row.",
                )
                .optional()
                .validator(Validator::non_empty()),
            )
            .key(
                list("group.by", High, "The keys: expressions in Spark SQL between commas, with or without AS name.")
                    .default(""),
            )
            .key(list(
                "aggregates",
                High,
                "What is computed: expressions over aggregates between commas, such as 'count(*) AS n, sum(a) / sum(b) AS \
                 r, max(v) FILTER (WHERE ok)'.",
            ))
            .key(
                ConfigKey::new("having", ConfigType::String, Low, "A condition on the results.")
                    .optional()
                    .validator(Validator::non_empty()),
            )
            .key(
                ConfigKey::new(
                    "window.column",
                    ConfigType::String,
                    Low,
                    "The output column with the window: a struct of start and end. Default: window, or session_window.",
                )
                .optional()
                .validator(Validator::non_empty()),
            )
            .key(
                ConfigKey::new(
                    "ansi",
                    ConfigType::Boolean,
                    Low,
                    "Whether overflow, bad casts and the like are errors, as in Spark 4; otherwise they wrap or give null.",
                )
                .default(true),
            )
            .key(
                ConfigKey::new(
                    "state.limit",
                    ConfigType::Size,
                    Low,
                    "The most memory that the state may take: beyond it the task fails. Default: no limit.",
                )
                .optional(),
            )
            .key(
                ConfigKey::new(
                    "threads",
                    ConfigType::Int,
                    Low,
                    "How many threads aggregate. Not given: as many as the machine has cores. Aggregates that depend on the order of rows, such as first and collect_list, take one.",
                )
                .optional()
                .validator(Validator::between(1, 64)),
            )
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut wrong = |key: &str, message: &str| errors.push(ConfigError::new(key, message));
        let given = |key: &str| config.is_given(key);
        if given("window") && given("session.gap") {
            wrong("session.gap", "give window or session.gap, not both");
        }
        if !given("time") && (given("window") || given("session.gap") || given("watermark")) {
            wrong("time", "missing; name the column with the event time");
        }
        for key in ["slide", "offset"] {
            if given(key) && !given("window") {
                wrong(key, "is for windows; give window, too");
            }
        }
        let micros = |key: &str| config.string_opt(key).and_then(|text| parse_interval(&text).ok());
        let size = micros("window");
        let slide = micros("slide").or(size);
        match (size, slide) {
            (Some(size), _) if size <= 0 => wrong("window", "must be longer than nothing"),
            (_, Some(slide)) if slide <= 0 => wrong("slide", "must be longer than nothing"),
            (Some(size), Some(slide)) if slide > size => {
                wrong("slide", "must not be longer than the window: rows between windows would be lost");
            }
            (_, Some(slide)) if micros("offset").is_some_and(|offset| offset.abs() >= slide) => {
                wrong("offset", "must be shorter than the slide");
            }
            _ => {}
        }
        errors
    }
}

fn items(config: &Config, key: &str) -> Result<Vec<String>> {
    match config.string(key).trim() {
        "" => Ok(Vec::new()),
        text => split_list(text).map_err(|error| error.context(config.full_key(key))),
    }
}

impl TransformPlugin for WindowedAggregate {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        let micros = |key: &str| config.string_opt(key).map(|text| parse_interval(&text)).transpose();
        let column = config.string_opt("time").unwrap_or_default();
        let time = match (micros("window")?, config.string_opt("session.gap")) {
            (Some(size), _) => TimeSpec::Window {
                column: column.clone(),
                size,
                slide: micros("slide")?.unwrap_or(size),
                offset: micros("offset")?.unwrap_or(0),
            },
            (None, Some(gap)) => TimeSpec::Session { column: column.clone(), gap },
            (None, None) => TimeSpec::None,
        };
        let grouping = GroupingSpec {
            sets: None,
            made: Vec::new(),
            keys: items(config, "group.by")?,
            aliases: Vec::new(),
            items: items(config, "aggregates")?,
            keys_first: true,
            having: config.string_opt("having"),
        };
        if grouping.items.is_empty() && grouping.keys.is_empty() && matches!(time, TimeSpec::None) {
            return Err(Error::config(format!("{}: missing", config.full_key("aggregates")))
                .hint("say what is to be computed: 'count(*) AS n'"));
        }
        Ok(Box::new(Grouped::new(GroupedSpec {
            time,
            watermark: config
                .string_opt("watermark")
                .map(|delay| parse_delay(&delay))
                .transpose()?
                .map(|delay| (column, delay)),
            window_column: config.string_opt("window.column"),
            window_meanings: Vec::new(),
            grouping,
            options: SqlOptions { ansi: config.bool("ansi"), ..SqlOptions::default() },
            state_limit: config.size_opt("state.limit"),
            threads: config.int_opt("threads").and_then(|threads| usize::try_from(threads).ok()),
        })))
    }
}
