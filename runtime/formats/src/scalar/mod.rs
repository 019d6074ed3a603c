//! Spark's parsing and formatting of scalars: what `CAST(text AS type)` accepts, and what `CAST(value AS STRING)` gives.
//!
//! A parser returns `None` for text that Spark refuses; whether that is a null (legacy) or an error (ANSI) is the
//! caller's choice.

mod decimal;
mod format;
mod number;
mod time;
mod zone;

pub use decimal::{format_decimal, parse_decimal};
pub use format::{format_date, format_double, format_float, format_timestamp, format_timestamp_in};
pub use number::{parse_boolean, parse_double, parse_float, parse_long};
pub use time::{parse_date, parse_timestamp, parse_timestamp_in, parse_timestamp_ntz};
pub use zone::{Zone, parse_zone};

pub(crate) use decimal::decimal_of_number;
pub(crate) use format::write_double;
pub(crate) use number::{java_double, java_float};
pub(crate) use time::{parse_timestamp_bytes, text_to_date_lenient, text_to_timestamp_lenient};

/// Whether a cast trims this byte: blanks and ISO control characters.
pub(crate) fn is_blank(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// `text` without the blanks that a cast ignores around it.
pub(crate) fn trim_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| !is_blank(*b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !is_blank(*b)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}
