//! Values into columns, by the column's type.

use super::CsvOptions;
use crate::column::{Column, Values};
use crate::json::{Cursor, Numeric};
use crate::scalar::{
    LastDay, decimal_of_number, java_double, java_float, parse_timestamp_bytes, parse_timestamp_ntz, split_sign,
    text_to_date_lenient, text_to_timestamp_lenient,
};

/// Appends a value that is not null. `false` if it does not fit: then nothing was appended.
#[inline]
pub(crate) fn push(column: &mut Column, text: &[u8], options: &CsvOptions) -> bool {
    let pushed = try_push(&mut column.values, text, options);
    if pushed.is_some() {
        column.accept();
    }
    pushed.is_some()
}

#[inline]
fn try_push(values: &mut Values, text: &[u8], options: &CsvOptions) -> Option<()> {
    match values {
        Values::Utf8(v) => v.push(text),
        Values::Int32(v) => v.push(i32::try_from(java_long(text)?).ok()?),
        Values::Int64(v) => v.push(java_long(text)?),
        Values::Int16(v) => v.push(i16::try_from(java_long(text)?).ok()?),
        Values::Int8(v) => v.push(i8::try_from(java_long(text)?).ok()?),
        Values::Float64(v) => v.push(special(text, options).or_else(|| double(text))?),
        Values::Float32(v) => {
            v.push(match special(text, options) {
                Some(value) => value as f32,
                None => java_float(utf8(text)?)?,
            });
        }
        Values::Boolean(v) => v.push(if text.eq_ignore_ascii_case(b"true") {
            true
        } else if text.eq_ignore_ascii_case(b"false") {
            false
        } else {
            return None;
        }),
        Values::Timestamp(v) => {
            v.push(match &options.formats.timestamp {
                None => parse_timestamp_bytes(text, &mut LastDay::default())
                    .or_else(|| text_to_timestamp_lenient(utf8(text)?))?,
                Some(pattern) => pattern.parse(utf8(text)?)?,
            });
        }
        Values::TimestampNtz(v) => v.push(parse_timestamp_ntz(utf8(text)?, false)?),
        Values::Date(v) => v.push(match &options.formats.date {
            None => text_to_date_lenient(utf8(text)?)?,
            Some(pattern) => pattern.parse_date(utf8(text)?)?,
        }),
        Values::Decimal(v, precision, scale) => {
            // Commas are the grouping of the US locale.
            let digits: Vec<u8> = text.iter().copied().filter(|b| *b != b',').collect();
            v.push(decimal_of_number(&digits, *precision, *scale)?);
        }
        _ => return None,
    }
    Some(())
}

fn utf8(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()
}

/// The spellings of NaN and the infinities. All other numbers start with a digit, sign or point, so most are seen at
/// the first byte.
#[inline]
fn special(text: &[u8], options: &CsvOptions) -> Option<f64> {
    if text == options.nan_value.as_bytes() {
        Some(f64::NAN)
    } else if text == options.negative_inf.as_bytes() {
        Some(f64::NEG_INFINITY)
    } else if text == options.positive_inf.as_bytes() {
        Some(f64::INFINITY)
    } else {
        None
    }
}

#[inline]
fn double(text: &[u8]) -> Option<f64> {
    let mut cursor = Cursor { bytes: text, at: 0 };
    if let Ok(Numeric::Finite(number)) = cursor.numeric()
        && cursor.at_end()
        && let value = number.to_f64()
        && value != 0.0
    {
        return Some(value);
    }
    java_double(utf8(text)?)
}

/// A whole number as `java.lang.Long.parseLong` takes it: no blanks, an optional sign.
#[inline]
pub(crate) fn java_long(text: &[u8]) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    if digits.len() <= 18 {
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i64::from(digit);
        }
        return Some(if negative { -value } else { value });
    }
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}
