//! Literals and their types.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use levada_formats::scalar;

use super::ast::{PlanError, Planned, Span};

/// A number: `1` int, `3000000000` and `1L` bigint, `1.5` decimal, `1e3` and `1D` double.
pub(crate) fn number(digits: &str, suffix: &str, negative: bool, span: Span) -> Planned<ScalarValue> {
    let text = if negative { format!("-{digits}") } else { digits.to_owned() };
    let fits = |value: Option<ScalarValue>, of: &str| {
        value.ok_or_else(|| PlanError::new(span, format!("{text} is out of the range of {of}")))
    };
    let whole = digits.bytes().all(|b| b.is_ascii_digit());
    match suffix {
        "L" => fits(text.parse().ok().map(|v| ScalarValue::Int64(Some(v))), "bigint"),
        "S" => fits(text.parse().ok().map(|v| ScalarValue::Int16(Some(v))), "smallint"),
        "Y" => fits(text.parse().ok().map(|v| ScalarValue::Int8(Some(v))), "tinyint"),
        "D" => fits(text.parse().ok().map(|v| ScalarValue::Float64(Some(v))), "double"),
        "F" => fits(text.parse().ok().map(|v| ScalarValue::Float32(Some(v))), "float"),
        "BD" => fits(decimal(&text), "decimal(38)"),
        "" if digits.contains('e') => fits(text.parse().ok().map(|v| ScalarValue::Float64(Some(v))), "double"),
        "" if whole => {
            if let Ok(value) = text.parse() {
                return Ok(ScalarValue::Int32(Some(value)));
            }
            if let Ok(value) = text.parse() {
                return Ok(ScalarValue::Int64(Some(value)));
            }
            fits(decimal(&text), "decimal(38)")
        }
        "" => fits(decimal(&text), "decimal(38)"),
        _ => Err(PlanError::new(span, format!("a number cannot end in '{suffix}'"))
            .hint("the suffixes are L, S, Y, D, F and BD")),
    }
}

fn decimal(text: &str) -> Option<ScalarValue> {
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    while scale < 0 {
        value = value.checked_mul(10)?;
        scale += 1;
    }
    let digits = i32::try_from(value.unsigned_abs().to_string().len()).ok()?;
    let digits = if value == 0 { 1 } else { digits };
    // 0.05 is decimal(2,2): the precision is never below the scale.
    let precision = u8::try_from(digits.max(scale)).ok().filter(|p| *p <= 38)?;
    Some(ScalarValue::Decimal128(Some(value), precision, i8::try_from(scale).ok()?))
}

/// `X'1F'`.
pub(crate) fn hex(digits: &str, span: Span) -> Planned<ScalarValue> {
    let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
    let bytes = (0..padded.len())
        .step_by(2)
        .map(|at| padded.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect::<Option<Vec<u8>>>();
    match bytes {
        Some(bytes) => Ok(ScalarValue::Binary(Some(bytes))),
        None => Err(PlanError::new(span, "not hexadecimal digits")),
    }
}

/// `DATE '2024-01-31'` and the like.
pub(crate) fn typed(kind: &str, text: &str, span: Span) -> Planned<ScalarValue> {
    let value = match kind {
        "date" => scalar::parse_date(text).map(|days| ScalarValue::Date32(Some(days))),
        "timestamp_ntz" => {
            scalar::parse_timestamp(text).map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), None))
        }
        _ => scalar::parse_timestamp(text)
            .map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), Some(Arc::from("UTC")))),
    };
    value.ok_or_else(|| PlanError::new(span, format!("'{text}' is no {kind}")).hint("write it as 2024-01-31 12:30:00"))
}

enum Unit {
    Months(i64),
    Micros(i64),
}

fn unit(name: &str) -> Option<Unit> {
    let lower = name.to_ascii_lowercase();
    Some(match lower.strip_suffix('s').unwrap_or(&lower) {
        "year" => Unit::Months(12),
        "month" => Unit::Months(1),
        "week" => Unit::Micros(7 * 86_400_000_000),
        "day" => Unit::Micros(86_400_000_000),
        "hour" => Unit::Micros(3_600_000_000),
        "minute" => Unit::Micros(60_000_000),
        "second" => Unit::Micros(1_000_000),
        "millisecond" => Unit::Micros(1000),
        "microsecond" => Unit::Micros(1),
        _ => return None,
    })
}

pub(crate) fn is_unit(name: &str) -> bool {
    unit(name).is_some()
}

/// `30 SECONDS`, `1 day 2 hours`: months become a year-month interval, everything shorter a duration.
pub(crate) fn interval(text: &str, span: Span) -> Planned<ScalarValue> {
    let wrong = || PlanError::new(span, "not an interval").hint("write it as INTERVAL 30 SECONDS or INTERVAL '1 day'");
    match sums(text).ok_or_else(wrong)? {
        (Some(months), None) => {
            i32::try_from(months).map(|m| ScalarValue::IntervalYearMonth(Some(m))).map_err(|_| wrong())
        }
        (None, Some(micros)) => Ok(ScalarValue::DurationMicrosecond(Some(micros))),
        (None, None) => Err(wrong()),
        (Some(_), Some(_)) => {
            let hint = "add two intervals one after the other";
            Err(PlanError::new(span, "an interval of both months and days is not supported").hint(hint))
        }
    }
}

/// The months of an interval's text and the microseconds of its shorter parts: their sums, each part with its sign.
pub(crate) fn sums(text: &str) -> Option<(Option<i64>, Option<i64>)> {
    let mut words = text.split_whitespace();
    let (mut months, mut micros) = (None::<i64>, None::<i64>);
    while let Some(number) = words.next() {
        let (total, factor) = match unit(words.next()?)? {
            Unit::Months(factor) => (&mut months, factor),
            Unit::Micros(factor) => (&mut micros, factor),
        };
        *total = Some(total.unwrap_or(0).checked_add(scaled(number, factor)?)?);
    }
    Some((months, micros))
}

/// `number × factor`, exact: seconds may have a fraction.
fn scaled(number: &str, factor: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 6 || (!fraction.is_empty() && factor != 1_000_000) {
        return None;
    }
    let digits: i64 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10i64.pow(u32::try_from(fraction.len()).ok()?);
    digits.checked_mul(factor / scale)
}
