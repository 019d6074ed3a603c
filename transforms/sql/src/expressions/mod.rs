//! Spark SQL expressions over record batches.
//!
//! An expression is text. It is [parsed](parse) by Spark's grammar, its names are [resolved](resolve) in the input
//! schema, every node gets the type that Spark gives it ([`planner`], [`coerce`]), and what comes out is a DataFusion
//! physical expression. Neither sessions nor plans are involved, so that compiling takes microseconds.

pub(crate) mod ast;
pub(crate) mod call;
pub(crate) mod coerce;
mod error;
mod explode;
mod expression;
mod isolate;
mod lexer;
pub(crate) mod literal;
pub(crate) mod operators;
mod parse;
pub(crate) mod planner;
mod predicate;
mod projection;
pub(crate) mod resolve;
pub(crate) mod typed;

pub use expression::Expression;
pub use isolate::Isolated;
pub use predicate::Predicate;
pub use projection::Projection;

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

/// Splits a select list at its commas: not at those inside brackets and quotes.
///
/// # Errors
/// The text is no list of expressions; the message says what is wrong and where.
pub fn split_list(text: &str) -> Result<Vec<String>> {
    parse::items(text).map_err(|error| error.locate(text))
}
