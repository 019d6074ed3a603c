//! Values as text.

use std::fmt::Write;

use chrono::{Offset, TimeZone};
use chrono_tz::Tz;
use levada_connector_api::json::write_date;

use super::time::{MICROS_PER_DAY, MICROS_PER_SECOND};

/// A double as Java writes it (JDK 19 and later): `1.0`, `1.0E10`, `NaN`, `-Infinity`.
pub fn format_double(value: f64) -> String {
    let mut text = String::new();
    write_double(&mut text, value);
    text
}

/// A float as Java writes it (JDK 19 and later).
pub fn format_float(value: f32) -> String {
    let mut text = String::new();
    if !special(&mut text, f64::from(value)) {
        let mut digits = format!("{value:e}");
        if !digits.contains('.') {
            let longer = format!("{value:.1e}");
            if longer.parse() == Ok(value) {
                digits = longer;
            }
        }
        java_notation(&mut text, &digits);
    }
    text
}

/// Appends [`format_double`]'s text.
pub(crate) fn write_double(text: &mut String, value: f64) {
    if special(text, value) {
        return;
    }
    let mut digits = format!("{value:e}");
    if !digits.contains('.') {
        // Java asks for two digits where one would do, and takes the nearest: 4.9E-324, not 5.0E-324.
        let longer = format!("{value:.1e}");
        if longer.parse() == Ok(value) {
            digits = longer;
        }
    }
    java_notation(text, &digits);
}

fn special(text: &mut String, value: f64) -> bool {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value < 0.0 { "-Infinity" } else { "Infinity" });
    } else if value == 0.0 {
        text.push_str(if value.is_sign_negative() { "-0.0" } else { "0.0" });
    } else {
        return false;
    }
    true
}

/// Rewrites `-d.ddde-x` into Java's notation: plain from 1e-3 to below 1e7, with at least one digit after the point.
fn java_notation(text: &mut String, scientific: &str) {
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        text.push_str(scientific);
        return;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            text.push('-');
            rest
        }
        None => mantissa,
    };
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let rest = rest.trim_end_matches('0');
    match usize::try_from(exponent) {
        Ok(places) if places < 7 => {
            text.push_str(first);
            let (whole, fraction) = rest.split_at_checked(places).unwrap_or((rest, ""));
            text.push_str(whole);
            text.extend(std::iter::repeat_n('0', places - whole.len()));
            text.push('.');
            text.push_str(if fraction.is_empty() { "0" } else { fraction });
        }
        Err(_) if exponent >= -3 => {
            text.push_str("0.");
            text.extend(std::iter::repeat_n('0', usize::try_from(-exponent - 1).unwrap_or(0)));
            text.push_str(first);
            text.push_str(rest);
        }
        _ => {
            text.push_str(first);
            text.push('.');
            text.push_str(if rest.is_empty() { "0" } else { rest });
            text.push('E');
            let _ = write!(text, "{exponent}");
        }
    }
}

/// A timestamp in UTC as `CAST(ts AS STRING)` gives it: `2024-01-01 00:00:00.123`, without trailing zeros.
pub fn format_timestamp(micros: i64) -> String {
    let days = micros.div_euclid(MICROS_PER_DAY);
    let mut of_day = micros.rem_euclid(MICROS_PER_DAY);
    let mut text = String::with_capacity(26);
    write_date(&mut text, days);
    let fraction = of_day % MICROS_PER_SECOND;
    of_day /= MICROS_PER_SECOND;
    let _ = write!(text, " {:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text
}

/// A timestamp as [`format_timestamp`] gives it, in the local time of a zone.
pub fn format_timestamp_in(micros: i64, zone: Tz) -> String {
    let offset = chrono::DateTime::from_timestamp_micros(micros)
        .map_or(0, |utc| zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc());
    format_timestamp(micros.saturating_add(i64::from(offset) * MICROS_PER_SECOND))
}

/// A date, given in days since 1970, as `CAST(date AS STRING)` gives it: `2024-01-01`.
pub fn format_date(days: i32) -> String {
    let mut text = String::with_capacity(10);
    write_date(&mut text, i64::from(days));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_in_java_notation() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e10, "1.0E10"),
            (1e-5, "1.0E-5"),
            (1000.0, "1000.0"),
            (1234567.0, "1234567.0"),
            (1e7, "1.0E7"),
            (9999999.5, "9999999.5"),
            (0.001, "0.001"),
            (0.00123, "0.00123"),
            (0.0009, "9.0E-4"),
            (1.5, "1.5"),
            (-120.25, "-120.25"),
            (2e23, "2.0E23"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (5e-324, "4.9E-324"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(format_double(value), text);
        }
        assert_eq!(format_float(0.1), "0.1");
        assert_eq!(format_float(1.0e10), "1.0E10");
        assert_eq!(format_float(16777216.0), "1.6777216E7");
        assert_eq!(format_float(f32::from_bits(1)), "1.4E-45");
    }

    #[test]
    fn timestamps_and_dates() {
        assert_eq!(format_timestamp(0), "1970-01-01 00:00:00");
        assert_eq!(format_timestamp(1_704_067_200_123_000), "2024-01-01 00:00:00.123");
        assert_eq!(format_timestamp(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(format_timestamp_in(0, Tz::Asia__Seoul), "1970-01-01 09:00:00");
        assert_eq!(format_date(19723), "2024-01-01");
        assert_eq!(format_date(-719529), "-0001-12-31");
        assert_eq!(format_date(2932897), "+10000-01-01");
    }
}
