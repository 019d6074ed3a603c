//! Integers, floating-point numbers and booleans.

use super::{split_sign, trim_blanks};

/// A whole number as `CAST(text AS BIGINT)` reads it, without the blanks around it.
///
/// Without `ansi` a fraction is allowed and cut: `3.7` is 3, `.5` is 0.
pub fn parse_long(text: &str, ansi: bool) -> Option<i64> {
    let text = trim_blanks(text.as_bytes());
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    let mut rest = digits.iter();
    for byte in rest.by_ref() {
        match byte {
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                // Counted downwards, since the smallest number has no positive counterpart.
                value = value.checked_mul(10)?.checked_sub(digit)?;
            }
            b'.' if !ansi => break,
            _ => return None,
        }
    }
    if !rest.all(u8::is_ascii_digit) {
        return None;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// A number as `CAST(text AS DOUBLE)` reads it: Java's grammar, and `inf`, `infinity`, `nan` in any case.
pub fn parse_double(text: &str) -> Option<f64> {
    java_double(text).or_else(|| special(text))
}

/// A number as `CAST(text AS FLOAT)` reads it.
pub fn parse_float(text: &str) -> Option<f32> {
    java_float(text).or_else(|| special(text).map(|v| v as f32))
}

/// A truth value as `CAST(text AS BOOLEAN)` reads it: t, true, y, yes, 1 or f, false, n, no, 0 in any case.
pub fn parse_boolean(text: &str) -> Option<bool> {
    let text = trim_blanks(text.as_bytes());
    let is = |names: [&str; 5]| names.iter().any(|n| text.eq_ignore_ascii_case(n.as_bytes()));
    if is(["t", "true", "y", "yes", "1"]) {
        Some(true)
    } else if is(["f", "false", "n", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// What `java.lang.Double.parseDouble` takes.
pub(crate) fn java_double(text: &str) -> Option<f64> {
    match java_number(text)? {
        JavaNumber::Decimal(digits) => digits.parse().ok(),
        JavaNumber::Value(value) => Some(value),
    }
}

/// What `java.lang.Float.parseFloat` takes. Decimal text is rounded once, straight to a float.
pub(crate) fn java_float(text: &str) -> Option<f32> {
    match java_number(text)? {
        JavaNumber::Decimal(digits) => digits.parse().ok(),
        JavaNumber::Value(value) => Some(value as f32),
    }
}

enum JavaNumber<'a> {
    /// A decimal number in a form that Rust's parser reads in the same way.
    Decimal(&'a str),
    Value(f64),
}

fn java_number(text: &str) -> Option<JavaNumber<'_>> {
    let text = text.trim_matches(|c| c <= ' ');
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let signed = |v: f64| JavaNumber::Value(if negative { -v } else { v });
    match body {
        "NaN" => return Some(JavaNumber::Value(f64::NAN)),
        "Infinity" => return Some(signed(f64::INFINITY)),
        _ => {}
    }
    if let Some(hex) = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        return hex_float(hex.trim_end_matches_one(['d', 'D', 'f', 'F'])).map(signed);
    }
    let number = text.trim_end_matches_one(['d', 'D', 'f', 'F']);
    // Rust also reads "inf" and "nan", which Java does not.
    number
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        .then_some(JavaNumber::Decimal(number))
}

trait TrimOne {
    fn trim_end_matches_one(&self, set: [char; 4]) -> &str;
}

impl TrimOne for str {
    fn trim_end_matches_one(&self, set: [char; 4]) -> &str {
        self.strip_suffix(set).unwrap_or(self)
    }
}

/// The part of a hexadecimal number after `0x`: digits, an optional point, and the exponent that Java requires.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // Up to 60 bits are exact; longer mantissas are not worth an exact rounding here.
    if whole.is_empty() && fraction.is_empty() || whole.len() + fraction.len() > 15 {
        return None;
    }
    let mut value = 0u64;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16 + u64::from(c.to_digit(16)?);
    }
    let shift = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    Some(value as f64 * 2f64.powi(shift))
}

fn special(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c| c <= ' ');
    let is = |names: &[&str]| names.iter().any(|n| text.eq_ignore_ascii_case(n));
    if is(&["inf", "+inf", "infinity", "+infinity"]) {
        Some(f64::INFINITY)
    } else if is(&["-inf", "-infinity"]) {
        Some(f64::NEG_INFINITY)
    } else if is(&["nan"]) {
        Some(f64::NAN)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_as_recorded_from_spark() {
        let cases: &[(&str, Option<i64>, Option<i64>)] = &[
            ("1", Some(1), Some(1)),
            (" 2 ", Some(2), Some(2)),
            ("3.7", Some(3), None),
            ("-3.7", Some(-3), None),
            ("1e2", None, None),
            ("x", None, None),
            ("", None, None),
            ("9223372036854775807", Some(i64::MAX), Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN), Some(i64::MIN)),
            ("9223372036854775808", None, None),
            ("0x10", None, None),
            ("1_000", None, None),
            ("+5", Some(5), Some(5)),
            ("1.", Some(1), None),
            (".5", Some(0), None),
            ("1.x", None, None),
            ("-", None, None),
            ("1L", None, None),
        ];
        for (text, legacy, ansi) in cases {
            assert_eq!(parse_long(text, false), *legacy, "{text:?}");
            assert_eq!(parse_long(text, true), *ansi, "{text:?}, ansi");
        }
    }

    #[test]
    fn doubles_follow_java() {
        for (text, value) in [
            (" 2 ", 2.0),
            ("1e2", 100.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("1d", 1.0),
            ("1.5F", 1.5),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("9223372036854775808", 9.223372036854776e18),
            ("0x1.8p1", 3.0),
            ("1e400", f64::INFINITY),
        ] {
            assert_eq!(parse_double(text), Some(value), "{text:?}");
        }
        assert!(parse_double("nAn").is_some_and(f64::is_nan));
        for text in ["", "x", "0x10", "1_000", "1L", "yes", ".", "1e", "1dd", "--1", "+-1"] {
            assert_eq!(parse_double(text), None, "{text:?}");
        }
    }

    #[test]
    fn booleans() {
        for (text, value) in [("t", true), (" YES ", true), ("1", true), ("False", false), ("0", false), ("n", false)] {
            assert_eq!(parse_boolean(text), Some(value), "{text:?}");
        }
        for text in ["", "2", "on", "1.0", "tru"] {
            assert_eq!(parse_boolean(text), None, "{text:?}");
        }
    }
}
