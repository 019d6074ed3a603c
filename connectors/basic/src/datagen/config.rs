//! The generator's options.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use levada_connector_api::config::{Config, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{Error, Plugin, Result, Source, SourceCapabilities, SourcePlugin};

use super::DatagenSource;

/// The largest vocabulary that may be configured.
const MAX_DISTINCT: i64 = 1_000_000;

/// The plugin `Datagen`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Datagen;

impl Plugin for Datagen {
    fn name(&self) -> &str {
        "Datagen"
    }

    fn aliases(&self) -> &[&str] {
        // The class of Confluent's connector for the same job.
        &["DatagenConnector"]
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Generates rows from a seed: lines of words, orders of a shop, or telemetry of cars."
    }

    fn config_def(&self) -> ConfigDef {
        use ConfigType::{Double, Duration, Long, String};
        use Importance::{High, Low, Medium};
        ConfigDef::new()
            .key(
                ConfigKey::new("kind", String, High, "What is generated.")
                    .default("words")
                    .one_of(&["words", "orders", "cars"])
                    .dependents(&["words.per.line", "distinct", "skew", "keys", "start.time", "step"]),
            )
            .key(
                ConfigKey::new("seed", Long, Medium, "The same seed gives the same rows.")
                    .default(0)
                    .validator(Validator::at_least(0)),
            )
            .key(
                ConfigKey::new("rows", Long, High, "How many rows there are; without it they never end.")
                    .optional()
                    .validator(Validator::at_least(0)),
            )
            .key(
                ConfigKey::new(
                    "rows.per.second",
                    Double,
                    High,
                    "How many rows are given a second; without it as many as are asked for.",
                )
                .optional()
                .validator(Validator::new("more than 0", |text| match text.trim().parse::<f64>() {
                    Ok(rate) if rate <= 0.0 => Err("it must be more than 0".to_owned()),
                    _ => Ok(()),
                })),
            )
            .key(
                ConfigKey::new("words.per.line", Long, Medium, "Of kind words: the words of a row.")
                    .default(8)
                    .validator(Validator::between(1, 10_000)),
            )
            .key(
                ConfigKey::new("distinct", Long, Medium, "Of kind words: the size of the vocabulary.")
                    .default(100_000)
                    .validator(Validator::between(1, MAX_DISTINCT)),
            )
            .key(
                ConfigKey::new(
                    "skew",
                    Double,
                    Low,
                    "Of kind words: the exponent of Zipf's law. 0 makes all words equally frequent, 1 is a text.",
                )
                .default("1.0")
                .validator(Validator::between(0, 10)),
            )
            .key(
                ConfigKey::new("keys", Long, Medium, "How many customers or cars there are.")
                    .default(1000)
                    .validator(Validator::at_least(1)),
            )
            .key(
                ConfigKey::new("start.time", String, Low, "Of kinds orders and cars: the event time of the first row.")
                    .default("2024-01-01T00:00:00Z")
                    .validator(Validator::new("a time in UTC", |text| parse_time(text).map(drop))),
            )
            .key(
                ConfigKey::new("step", Duration, Low, "Of kinds orders and cars: the event time between two rows.")
                    .default("1 ms"),
            )
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        // An option that has no effect is a mistake that nobody would find.
        let words = config.string("kind").eq_ignore_ascii_case("words");
        let (idle, kinds): (&[&str], _) = if words {
            (&["keys", "start.time", "step"], "orders and cars")
        } else {
            (&["words.per.line", "distinct", "skew"], "words")
        };
        let given = idle.iter().filter(|key| config.is_given(key));
        given.map(|key| ConfigError::new(*key, format!("it is for kind {kinds} only"))).collect()
    }
}

impl SourcePlugin for Datagen {
    fn capabilities(&self, config: &Config) -> SourceCapabilities {
        SourceCapabilities { replayable: true, bounded: config.int_opt("rows").is_some() }
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Source>> {
        Ok(Box::new(DatagenSource::new(Options::read(config)?)))
    }
}

/// What is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lines of words.
    Words,
    /// Orders of a shop.
    Orders,
    /// Telemetry of cars.
    Cars,
}

impl Kind {
    /// The name in configurations and offsets.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Orders => "orders",
            Self::Cars => "cars",
        }
    }
}

/// The options, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What is generated.
    pub kind: Kind,
    /// What the rows depend on, beside their number.
    pub seed: u64,
    /// Rows in all.
    pub rows: Option<u64>,
    /// Rows a second.
    pub rows_per_second: Option<f64>,
    /// Words a row.
    pub words_per_line: u64,
    /// The size of the vocabulary.
    pub distinct: u64,
    /// The exponent of Zipf's law.
    pub skew: f64,
    /// Customers or cars; at least one.
    pub keys: u64,
    /// The event time of row 0, in microseconds since the epoch.
    pub start_micros: i64,
    /// The event time between two rows, in microseconds.
    pub step_micros: i64,
}

impl Options {
    /// Reads a configuration that has passed the definition.
    ///
    /// # Errors
    /// `start.time` is no time, which the definition has checked before, or `step` is longer than time itself.
    pub fn read(config: &Config) -> Result<Self> {
        let number = |key: &str| u64::try_from(config.int(key)).unwrap_or(0);
        let kind = match config.string("kind").to_ascii_lowercase().as_str() {
            "orders" => Kind::Orders,
            "cars" => Kind::Cars,
            _ => Kind::Words,
        };
        let start_micros = parse_time(&config.string("start.time"))
            .map_err(|message| Error::config(format!("{}: {message}", config.full_key("start.time"))))?;
        let step_micros = i64::try_from(config.duration("step").as_micros())
            .map_err(|_| Error::config(format!("{}: the duration is too long", config.full_key("step"))))?;
        Ok(Self {
            kind,
            seed: number("seed"),
            rows: config.int_opt("rows").and_then(|rows| u64::try_from(rows).ok()),
            rows_per_second: config.double_opt("rows.per.second"),
            words_per_line: number("words.per.line"),
            distinct: number("distinct"),
            skew: config.double("skew"),
            keys: number("keys").max(1),
            start_micros,
            step_micros,
        })
    }
}

/// A time as people write it, in microseconds since the epoch. Without a zone it is in UTC.
fn parse_time(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_micros());
    }
    let naive = NaiveDateTime::parse_from_str(&text.replace('T', " "), "%Y-%m-%d %H:%M:%S%.f")
        .or_else(|_| NaiveDate::parse_from_str(text, "%Y-%m-%d").map(NaiveDateTime::from));
    naive
        .map(|time| time.and_utc().timestamp_micros())
        .map_err(|_| "not a time; write it as 2024-01-01T00:00:00Z".to_owned())
}
