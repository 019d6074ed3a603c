//! Typed values.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{ConfigType, RawConfig};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Boolean(bool),
    Text(String),
    Long(i64),
    Double(f64),
    List(Vec<String>),
    Duration(Duration),
    Size(u64),
}

/// A configuration that has passed its definition.
///
/// The getters take a key of the definition and its type. A key that is not in the definition, or is of another type,
/// is a bug of the plugin: the getter gives the type's empty value, and says so in debug builds.
#[derive(Clone)]
pub struct Config {
    values: BTreeMap<String, Value>,
    raw: RawConfig,
    prefix: String,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident, $opt:ident -> $type:ty, $variant:pat => $value:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, key: &str) -> $type {
            let value = self.$opt(key);
            debug_assert!(value.is_some(), "key {key} has no default and may be unset");
            value.unwrap_or_default()
        }

        /// The same for a key that may be unset.
        pub fn $opt(&self, key: &str) -> Option<$type> {
            match self.values.get(key)? {
                $variant => Some($value),
                other => {
                    debug_assert!(false, "key {key} is {other:?}");
                    None
                }
            }
        }
    )*};
}

impl Config {
    pub(super) fn new(values: BTreeMap<String, Value>, raw: RawConfig, prefix: &str) -> Self {
        Self { values, raw, prefix: prefix.to_owned() }
    }

    getters! {
        /// A boolean.
        bool, bool_opt -> bool, Value::Boolean(value) => *value;
        /// Text, also of a password.
        string, string_opt -> String, Value::Text(value) => value.clone();
        /// A whole number.
        int, int_opt -> i64, Value::Long(value) => *value;
        /// A number.
        double, double_opt -> f64, Value::Double(value) => *value;
        /// A list.
        list, list_opt -> Vec<String>, Value::List(value) => value.clone();
        /// A span of time.
        duration, duration_opt -> Duration, Value::Duration(value) => *value;
        /// A number of bytes.
        size, size_opt -> u64, Value::Size(value) => *value;
    }

    /// Whether the user gave the key: a default does not count.
    pub fn is_given(&self, key: &str) -> bool {
        self.raw.contains_key(key)
    }

    /// The keys that begin with `prefix`, without it, and their values as they were given: what a definition's key with
    /// a `*` hands through.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.raw.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
    }

    /// The configuration as it was given.
    pub fn raw(&self) -> &RawConfig {
        &self.raw
    }

    /// The key as the user wrote it, with its prefix: for messages.
    pub fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secret: only the keys are shown.
        f.debug_set().entries(self.values.keys()).finish()
    }
}

pub(super) fn parse(kind: ConfigType, text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    Ok(match kind {
        ConfigType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            _ => return Err("not a boolean; use true or false".into()),
        },
        ConfigType::String | ConfigType::Password => Value::Text(text.to_owned()),
        ConfigType::Int => {
            let number: i32 = trimmed.parse().map_err(|_| "not a whole number of 32 bits".to_owned())?;
            Value::Long(number.into())
        }
        ConfigType::Long => Value::Long(trimmed.parse().map_err(|_| "not a whole number".to_owned())?),
        ConfigType::Double => match trimmed.parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Double(number),
            _ => return Err("not a number".into()),
        },
        ConfigType::List => {
            Value::List(trimmed.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
        ConfigType::Duration => Value::Duration(parse_duration(trimmed)?),
        ConfigType::Size => Value::Size(parse_size(trimmed)?),
    })
}

/// Parses a span of time as Spark and people write it: `5 seconds`, `1 minute 30 seconds`, `250ms`, `2h`.
///
/// # Errors
/// The text is no span of time; the message says what one looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a duration; write it as '5 seconds', '1 minute' or '250 ms'".to_owned();
    let text = text.trim().to_ascii_lowercase();
    let mut rest = text.strip_prefix("interval ").unwrap_or(&text).trim_start();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest).ok_or_else(wrong)?;
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "us" | "microsecond" | "microseconds" => 1e-6,
            "ms" | "millisecond" | "milliseconds" | "millis" => 1e-3,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            "w" | "week" | "weeks" => 604_800.0,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| "the duration is too long".to_owned())?;
        total = total.checked_add(part).ok_or("the duration is too long")?;
        rest = tail.trim_start();
    }
    Ok(total)
}

/// Parses a number of bytes: `4096`, `64 KB`, `64MB`, `1 GiB`. Units are powers of 1024, as in Kafka and Spark.
///
/// # Errors
/// The text is no size; the message says what one looks like.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "not a size; write it as '64 MB' or as a number of bytes".to_owned();
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = split_number(&text).ok_or_else(wrong)?;
    let factor: u64 = match unit {
        "" | "b" | "byte" | "bytes" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = number * factor as f64;
    if bytes < 0.0 || bytes > i64::MAX as f64 { Err(wrong()) } else { Ok(bytes as u64) }
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, ms) in [
            ("5 seconds", 5000),
            ("1 minute", 60_000),
            ("250ms", 250),
            ("1 minute 30 seconds", 90_000),
            ("INTERVAL 2 HOURS", 7_200_000),
            ("0.5 s", 500),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "five seconds", "-1 s", "1 parsec", "999999999999999999999 weeks"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [("4096", 4096), ("64 KB", 65_536), ("1GiB", 1 << 30), ("1.5m", 1_572_864)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "1 furlong", "-5", "99999999999 TB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
