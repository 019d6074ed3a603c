//! Decimals as unscaled 128-bit integers.

/// A decimal as `CAST(text AS DECIMAL(precision, scale))` reads it, rounded half up, as its unscaled value.
/// `None` if the text is no number or the value does not fit.
pub fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    decimal_of_number(text.trim_matches(|c| c <= ' ').as_bytes(), precision, scale)
}

/// A decimal from a number without blanks around it, in the grammar of `java.math.BigDecimal`.
pub(crate) fn decimal_of_number(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let (negative, body) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mantissa_end = body.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(body.len());
    let (mantissa, exponent) = body.split_at_checked(mantissa_end)?;
    let exponent = match exponent {
        [] => 0,
        [_, digits @ ..] => exponent_value(digits)?,
    };
    let point = mantissa.iter().position(|b| *b == b'.');
    let (whole, fraction) = match point {
        Some(at) => (mantissa.get(..at)?, mantissa.get(at + 1..)?),
        None => (mantissa, &[][..]),
    };
    let digits = || whole.iter().chain(fraction).copied();
    if mantissa.is_empty() || point.is_some() && mantissa.len() == 1 || !digits().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count = i64::try_from(whole.len() + fraction.len()).ok()?;
    let leading_zeros = i64::try_from(digits().take_while(|b| *b == b'0').count()).ok()?;
    if leading_zeros == count {
        return Some(0);
    }
    let significant = count - leading_zeros;
    // The value is `digits * 10^shift` in units of the scale.
    let shift = exponent - i64::try_from(fraction.len()).ok()? + i64::from(scale);
    let kept = significant.checked_add(shift)?;
    if kept > i64::from(precision).min(38) {
        return None;
    }
    if kept < 0 {
        return Some(0);
    }
    let mut value = 0i128;
    let mut rest = digits().skip(usize::try_from(leading_zeros).ok()?);
    for _ in 0..kept {
        value = value * 10 + rest.next().map_or(0, |b| i128::from(b - b'0'));
    }
    if rest.next().is_some_and(|b| b >= b'5') {
        value += 1;
    }
    if value >= 10i128.checked_pow(u32::from(precision.min(38)))? {
        return None;
    }
    Some(if negative { -value } else { value })
}

/// The exponent, cut to a range in which the sums above cannot overflow and the result is the same.
fn exponent_value(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i64, |v, b| v.saturating_mul(10).saturating_add(i64::from(b - b'0'))).min(1 << 40);
    Some(if negative { -value } else { value })
}

/// A decimal in plain notation with all digits of its scale: `1.50`.
pub fn format_decimal(unscaled: i128, scale: i8) -> String {
    let digits = unscaled.unsigned_abs().to_string();
    let sign = if unscaled < 0 { "-" } else { "" };
    let Ok(places) = usize::try_from(scale) else {
        let zeros = if unscaled == 0 { 0 } else { usize::from(scale.unsigned_abs()) };
        return format!("{sign}{digits}{:0<zeros$}", "");
    };
    if places == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_as_recorded_from_spark() {
        let cases: &[(&str, Option<&str>)] = &[
            ("1.005", Some("1.01")),
            ("1.015", Some("1.02")),
            ("12345678.9", Some("12345678.90")),
            ("123456789.1", None),
            ("1e2", Some("100.00")),
            ("-0.004", Some("0.00")),
            ("-0.005", Some("-0.01")),
            (" 2 ", Some("2.00")),
            ("+5", Some("5.00")),
            ("1.", Some("1.00")),
            (".5", Some("0.50")),
            ("0.00499", Some("0.00")),
            ("99999999.995", None),
            ("99999999.994", Some("99999999.99")),
            ("1e-400", Some("0.00")),
            ("1e400", None),
            ("0e99999999999999999999", Some("0.00")),
            ("1e99999999999999999999", None),
            ("", None),
            (".", None),
            ("1d", None),
            ("NaN", None),
            ("1e", None),
            ("1.2.3", None),
        ];
        for (text, expected) in cases {
            let value = parse_decimal(text, 10, 2).map(|v| format_decimal(v, 2));
            assert_eq!(value.as_deref(), *expected, "{text:?}");
        }
    }

    #[test]
    fn negative_scales() {
        assert_eq!(parse_decimal("12345", 5, -2), Some(123));
        assert_eq!(format_decimal(123, -2), "12300");
    }
}
