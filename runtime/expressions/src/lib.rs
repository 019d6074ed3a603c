//! Spark SQL expressions over record batches.
//!
//! An expression is text. It is [parsed](parse) by Spark's grammar, its names are [resolved](resolve) in the input
//! schema, every node gets the type that Spark gives it ([`planner`], [`coerce`]), and what comes out is a DataFusion
//! physical expression. Neither sessions nor plans are involved, so that compiling takes microseconds.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod aggregate;
pub(crate) mod ast;
pub(crate) mod call;
pub(crate) mod coerce;
mod compose;
mod error;
mod explode;
mod expression;
mod functions;
mod isolate;
mod lexer;
pub(crate) mod literal;
pub(crate) mod operators;
mod origin;
mod parse;
pub(crate) mod planner;
mod predicate;
mod projection;
mod reject;
pub(crate) mod resolve;
pub(crate) mod typed;

pub use aggregate::{
    AggregateCall, AggregateFunction, AggregateParams, Grouping, GroupingSpec, Overflow, PairFunction, Ties,
};
pub use expression::Expression;
pub use functions::digest::murmur;
pub use functions::names as function_names;
pub use isolate::Isolated;
pub use origin::{read_origin, write_origin};
pub use parse::{From, GroupingSets, OrderBy, OrderKey, Statement, WindowCall};
pub use predicate::Predicate;
pub use projection::Projection;
pub use reject::bad_rows;

use levada_connector_api::config::parse_duration;
use levada_connector_api::{Error, Result};

/// How expressions are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlOptions {
    /// Whether overflow, a bad cast, a division by zero and an index out of bounds are errors, as is Spark 4's default,
    /// or wrap or become null.
    pub ansi: bool,
    /// The session's time zone. Only UTC is supported.
    pub timezone: String,
}

impl Default for SqlOptions {
    fn default() -> Self {
        Self { ansi: true, timezone: "UTC".into() }
    }
}

impl SqlOptions {
    fn check(&self) -> Result<()> {
        if ["UTC", "Etc/UTC", "GMT", "Z", "+00:00"].iter().any(|zone| zone.eq_ignore_ascii_case(&self.timezone)) {
            return Ok(());
        }
        Err(Error::unsupported(format!("the time zone '{}' is not supported", self.timezone)).hint("use UTC"))
    }
}

/// The microseconds of an interval: `30 seconds`, `1 minute 30 seconds`, `INTERVAL '1 day'`, `500 ms`.
///
/// # Errors
/// The text is no interval, or one of months, whose length depends on the calendar.
pub fn parse_interval(text: &str) -> Result<i64> {
    let inner = without_word(text).trim_matches('\'');
    match literal::interval(inner, ast::Span::new(0, text.len())) {
        Ok(datafusion_common::ScalarValue::DurationMicrosecond(Some(micros))) => Ok(micros),
        Ok(_) => Err(Error::config(format!("'{text}': months and years have no fixed length"))
            .hint("use days, hours, minutes or seconds")),
        // As durations are written elsewhere in a pipeline: '5s', '500 ms', '1 min'.
        Err(_) => match parse_duration(inner) {
            Ok(span) => i64::try_from(span.as_micros())
                .map_err(|_| Error::config(format!("'{text}' is longer than 292 thousand years"))),
            Err(_) => Err(Error::config(format!("'{text}' is not an interval"))
                .hint("write it as '30 seconds' or '1 hour 30 minutes'")),
        },
    }
}

/// The type's name in Spark's messages: `STRING`, `DECIMAL(10,2)`, `ARRAY<INT>`.
pub fn type_name(ty: &arrow::datatypes::DataType) -> String {
    functions::types::sql_name(ty)
}

/// The names of all aggregates.
pub fn aggregate_names() -> Vec<&'static str> {
    aggregate::aggregate_names().collect()
}

/// The milliseconds of a watermark's delay: an interval whose months have 31 days, and whose years 12 such months; parts
/// may be negative, the sum may not. Short units (`10s`, `5 min`) are taken, too.
///
/// # Errors
/// The text is no interval, or its sum is negative.
pub fn parse_delay(text: &str) -> Result<i64> {
    const MONTH: i64 = 31 * 86_400_000_000;
    let micros = match literal::sums(without_word(text)) {
        Some((None, None)) | None => return short_delay(text),
        Some((months, micros)) => {
            months.unwrap_or(0).checked_mul(MONTH).and_then(|sum| sum.checked_add(micros.unwrap_or(0)))
        }
    };
    match micros {
        Some(micros) if micros >= 0 => Ok(micros / 1000),
        Some(_) => Err(Error::config(format!("'{text}': a delay must not be negative"))),
        None => Err(Error::config(format!("'{text}': the delay is too long"))),
    }
}

fn short_delay(text: &str) -> Result<i64> {
    let delay = parse_duration(text).map_err(|_| {
        Error::config(format!("'{text}' is not an interval")).hint("write it as '30 seconds' or '1 month'")
    })?;
    Ok(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

/// An interval's text without the word `INTERVAL` before it.
fn without_word(text: &str) -> &str {
    let bare = text.trim();
    match bare.get(..8) {
        Some(word) if word.eq_ignore_ascii_case("interval") => bare.get(8..).unwrap_or_default().trim(),
        _ => bare,
    }
}

/// Takes a query apart: `SELECT … FROM input WHERE … GROUP BY … HAVING …`.
///
/// # Errors
/// The text is no query, or one that cannot be streamed; the message says what is wrong, where, and what to do.
pub fn parse_statement(text: &str) -> Result<Statement> {
    parse::statement(text).map_err(|error| error.locate(text))
}

/// Splits a select list at its commas: not at those inside brackets and quotes.
///
/// # Errors
/// The text is no list of expressions; the message says what is wrong and where.
pub fn split_list(text: &str) -> Result<Vec<String>> {
    parse::items(text).map_err(|error| error.locate(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays() {
        for (text, ms) in [
            ("1 month", 31 * 86_400_000),
            ("1 year", 372 * 86_400_000),
            ("1 month 2 days", 33 * 86_400_000),
            ("-1 day 25 hours", 3_600_000),
            ("1 minutes -10 seconds", 50_000),
            ("INTERVAL 1.5 seconds", 1500),
            ("10s", 10_000),
        ] {
            assert_eq!(parse_delay(text).ok(), Some(ms), "{text}");
        }
        for text in ["", "10", "-1 second", "1 month -32 days", "9000000000000000 years", "soon"] {
            assert!(parse_delay(text).is_err(), "{text}");
        }
    }
}
