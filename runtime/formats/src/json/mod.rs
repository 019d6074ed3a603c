//! JSON into Arrow with Spark's rules, directed by a schema.
//!
//! A value of another type than its column makes the field null, or the row bad, as [`MalformedFields`] says. A syntax
//! error makes the whole row bad: [`MalformedRows`]. Of two equal names the last counts; names match with case; text
//! after the first complete value is ignored.

mod binary;
mod cursor;
mod decoder;
mod record;
mod relaxed;
mod value;
mod walk;

pub use decoder::{JsonDecoder, JsonMode, JsonOptions};
pub use levada_connector_api::json::encode_base64;
pub use relaxed::JsonSyntax;

pub(crate) use cursor::{Cursor, Numeric, Syntax};
pub(crate) use record::Record;

#[cfg(test)]
mod tests;
