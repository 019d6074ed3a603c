//! Spark's parsing and formatting of scalars: what `CAST(text AS type)` accepts, and what `CAST(value AS STRING)` gives.
//!
//! A parser returns `None` for text that Spark refuses; whether that is a null (legacy) or an error (ANSI) is the
//! caller's choice.

mod calendar;
mod decimal;
mod format;
mod number;
mod pattern;
mod time;
mod zone;

pub use calendar::{CYCLE, on_calendar};
pub use decimal::{format_decimal, parse_decimal};
pub use format::{format_date, format_double, format_float, format_timestamp, format_timestamp_in};
pub use number::{parse_boolean, parse_double, parse_float, parse_long};
pub use pattern::{Formats, Pattern};
pub use time::{parse_date, parse_timestamp, parse_timestamp_in, parse_timestamp_ntz};
pub use zone::{Zone, parse_zone};

pub(crate) use decimal::decimal_of_number;
pub(crate) use format::write_double;
pub(crate) use number::{java_double, java_float};
pub(crate) use time::{LastDay, parse_timestamp_bytes, text_to_date_lenient, text_to_timestamp_lenient};

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

/// Whether a minus stands before a number, and what follows the sign.
#[inline]
pub(crate) fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(any in any::<String>(), near in "[-+0-9TZ:. eE/A-z]{0,40}", scale in any::<i8>()) {
            for text in [any.as_str(), near.as_str(), &format!("2024-01-01 00:00:00{near}")] {
                let _ = (parse_timestamp(text), parse_timestamp_ntz(text, true), parse_date(text), parse_zone(text));
                let _ = (parse_timestamp_in(text, chrono_tz::Tz::Europe__Paris), parse_boolean(text));
                let _ = (parse_long(text, true), parse_long(text, false), parse_double(text), parse_float(text));
                let _ = (parse_decimal(text, 38, scale), parse_decimal(text, u8::MAX, scale));
            }
        }

        #[test]
        fn what_is_printed_reads_back(micros in any::<i64>(), days in -2_000_000i32..2_000_000, d in any::<f64>()) {
            // A few days at the ends of the range are beyond six digits of the year, or overflow on the way.
            if micros.unsigned_abs() < 1 << 62 {
                prop_assert_eq!(parse_timestamp(&format_timestamp(micros)), Some(micros));
            }
            prop_assert!(!format_timestamp(micros).is_empty());
            prop_assert_eq!(parse_date(&format_date(days)), Some(days));
            prop_assert_eq!(parse_double(&format_double(d)).map(f64::to_bits), Some(if d.is_nan() { f64::NAN } else { d }.to_bits()));
        }
    }
}
