//! Timestamps and dates.

use chrono_tz::Tz;

use super::trim_blanks;
use super::zone::{Zone, parse_zone};

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A timestamp as `CAST(text AS TIMESTAMP)` reads it with the session in UTC: microseconds since 1970.
///
/// Dates may be partial (`2024`, `2024-1`), the time starts after a blank or a `T`, digits beyond microseconds are cut,
/// and a zone may follow the seconds. A time alone, which Spark takes for one of today, is refused: what a row becomes must
/// not depend on when it is read, since a batch may be read again.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    parse_timestamp_bytes(text.as_bytes(), &mut LastDay::default())
}

/// A timestamp as [`parse_timestamp`] reads it, where text without a zone is in the local time of `tz`.
pub fn parse_timestamp_in(text: &str, tz: Tz) -> Option<i64> {
    segments(text.as_bytes())?.to_instant(Zone::Region(tz))
}

/// A timestamp without a time zone, as `CAST(text AS TIMESTAMP_NTZ)` reads it. Text with a zone is refused unless
/// `allow_zone`, which drops the zone.
pub fn parse_timestamp_ntz(text: &str, allow_zone: bool) -> Option<i64> {
    let segments = segments(text.as_bytes())?;
    if segments.zone.is_some() && !allow_zone {
        return None;
    }
    segments.zone_checked()?;
    segments.to_local()
}

/// A date as `CAST(text AS DATE)` reads it: days since 1970. What follows a blank or a `T` after the day is ignored.
pub fn parse_date(text: &str) -> Option<i32> {
    let text = trim_blanks(text.as_bytes());
    let (negative, rest) = sign(text);
    let (date, rest) = date_parts(rest, 7)?;
    let complete = match rest.first() {
        None => true,
        Some(b' ' | b'T') => date.2.is_some(),
        Some(_) => false,
    };
    if !complete {
        return None;
    }
    let year = if negative == Some(true) { -date.0 } else { date.0 };
    i32::try_from(days(year, date.1.unwrap_or(1), date.2.unwrap_or(1))?).ok()
}

/// The day of the timestamp that was read last: most follow one of the same day.
#[derive(Debug, Default)]
pub(crate) struct LastDay {
    text: [u8; 10],
    micros: i64,
}

/// As [`parse_timestamp`], from bytes, with a fast path for `YYYY-MM-DDTHH:MM:SS[.fraction][Z]`.
#[inline]
pub(crate) fn parse_timestamp_bytes(text: &[u8], last: &mut LastDay) -> Option<i64> {
    if let Some(micros) = fixed_layout(text, last) {
        return Some(micros);
    }
    segments(text)?.to_instant(Zone::Fixed(0))
}

/// A timestamp in a JSON or CSV field: a second try leaves out `GMT`, as old Spark versions wrote it.
pub(crate) fn text_to_timestamp_lenient(text: &str) -> Option<i64> {
    parse_timestamp_bytes(text.as_bytes(), &mut LastDay::default())
        .or_else(|| text.contains("GMT").then(|| parse_timestamp(&text.replace("GMT", "")))?)
}

/// A date in a JSON or CSV field.
pub(crate) fn text_to_date_lenient(text: &str) -> Option<i32> {
    parse_date(text).or_else(|| text.contains("GMT").then(|| parse_date(&text.replace("GMT", "")))?)
}

/// The layout that machines write. `None` means: try the general parser.
#[inline]
fn fixed_layout(text: &[u8], last: &mut LastDay) -> Option<i64> {
    /// `00:00:00`, and what gives the high bit to any byte but a digit, or a colon, in its place.
    const ZEROS: u64 = u64::from_le_bytes(*b"00:00:00");
    const OTHERS: u64 = u64::from_le_bytes([0x76, 0x76, 0x7f, 0x76, 0x76, 0x7f, 0x76, 0x76]);
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (date, rest) = text.split_first_chunk::<10>()?;
    let ([b'T' | b' ', time @ ..], tail) = rest.split_first_chunk::<9>()? else { return None };
    if *date != last.text {
        *last = LastDay { text: *date, micros: i64::from(fixed_date(date)?) * MICROS_PER_DAY };
    }
    let time = u64::from_le_bytes(*time) ^ ZEROS;
    let digit = |at: u32| (time >> (8 * at)) as u32 & 0xff;
    let pair = |at: u32| digit(at) * 10 + digit(at + 1);
    let (hour, minute, second) = (pair(0), pair(3), pair(6));
    if (time.wrapping_add(OTHERS) | time) & HIGHS != 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = 0u32;
    match tail {
        [] | [b'Z'] => {}
        [b'.', fraction @ ..] => {
            let fraction = fraction.strip_suffix(b"Z").unwrap_or(fraction);
            if fraction.len() > 6 {
                return None;
            }
            let mut unit = 100_000;
            for byte in fraction {
                let value = byte.wrapping_sub(b'0');
                if value > 9 {
                    return None;
                }
                micros += u32::from(value) * unit;
                unit /= 10;
            }
        }
        _ => return None,
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Some(last.micros + seconds * MICROS_PER_SECOND + i64::from(micros))
}

/// Days since 1970 of `YYYY-MM-DD`.
fn fixed_date(text: &[u8; 10]) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2] = *text else { return None };
    let mut wrong = false;
    let mut digit = |byte: u8| {
        let value = byte.wrapping_sub(b'0');
        wrong |= value > 9;
        u32::from(value)
    };
    let year = digit(y1) * 1000 + digit(y2) * 100 + digit(y3) * 10 + digit(y4);
    let (month, day) = (digit(mo1) * 10 + digit(mo2), digit(d1) * 10 + digit(d2));
    if wrong {
        return None;
    }
    i32::try_from(days(i64::from(year), month, day)?).ok()
}

/// The parts of a timestamp's text.
struct Segments<'a> {
    /// Year, month, day.
    date: (i64, u32, u32),
    hour: u32,
    minute: u32,
    second: u32,
    micros: u32,
    zone: Option<&'a [u8]>,
}

impl Segments<'_> {
    fn zone_checked(&self) -> Option<Option<Zone>> {
        match self.zone {
            None => Some(None),
            Some(name) => parse_zone(std::str::from_utf8(name).ok()?).map(Some),
        }
    }

    fn to_local(&self) -> Option<i64> {
        if self.hour > 23 || self.minute > 59 || self.second > 59 {
            return None;
        }
        let (year, month, day) = self.date;
        let of_day = i64::from(self.hour * 3600 + self.minute * 60 + self.second) * MICROS_PER_SECOND;
        days(year, month, day)?.checked_mul(MICROS_PER_DAY)?.checked_add(of_day + i64::from(self.micros))
    }

    fn to_instant(&self, session: Zone) -> Option<i64> {
        self.zone_checked()?.unwrap_or(session).to_utc(self.to_local()?)
    }
}

fn segments(text: &[u8]) -> Option<Segments<'_>> {
    let (negative, rest) = sign(trim_blanks(text));
    let ((year, month, day), rest) = date_parts(rest, 6)?;
    let year = if negative == Some(true) { -year } else { year };
    let date = (year, month.unwrap_or(1), day.unwrap_or(1));
    let mut parsed = Segments { date, hour: 0, minute: 0, second: 0, micros: 0, zone: None };
    match rest {
        [] => {}
        [b' ' | b'T', time @ ..] if day.is_some() => time_parts(time, &mut parsed)?,
        _ => return None,
    }
    Some(parsed)
}

/// Whether there is a sign, and which.
fn sign(text: &[u8]) -> (Option<bool>, &[u8]) {
    match text {
        [b'-', rest @ ..] => (Some(true), rest),
        [b'+', rest @ ..] => (Some(false), rest),
        _ => (None, text),
    }
}

type DateParts = (i64, Option<u32>, Option<u32>);

/// `yyyy[-m[-d]]` with 4 to `year_digits` digits of the year.
fn date_parts(text: &[u8], year_digits: usize) -> Option<(DateParts, &[u8])> {
    let (year, rest) = number(text, 4, year_digits)?;
    let year = i64::from(year);
    let Some(rest) = rest.strip_prefix(b"-") else { return Some(((year, None, None), rest)) };
    let (month, rest) = number(rest, 1, 2)?;
    let Some(rest) = rest.strip_prefix(b"-") else { return Some(((year, Some(month), None), rest)) };
    let (day, rest) = number(rest, 1, 2)?;
    Some(((year, Some(month), Some(day)), rest))
}

/// `h[:m[:s[.fraction][zone]]]` up to the end of the text.
fn time_parts<'a>(text: &'a [u8], into: &mut Segments<'a>) -> Option<()> {
    let rest;
    (into.hour, rest) = number(text, 1, 2)?;
    let rest = match rest {
        [] => return Some(()),
        [b':', rest @ ..] => rest,
        _ => return None,
    };
    let rest = {
        let after;
        (into.minute, after) = number(rest, 1, 2)?;
        match after {
            [] => return Some(()),
            [b':', after @ ..] => after,
            _ => return None,
        }
    };
    let mut rest = {
        let after;
        (into.second, after) = number(rest, 1, 2)?;
        after
    };
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        let mut unit = 100_000;
        for byte in fraction.iter().take(digits.min(6)) {
            into.micros += u32::from(byte - b'0') * unit;
            unit /= 10;
        }
        rest = fraction.get(digits..)?;
    }
    if !rest.is_empty() {
        into.zone = Some(rest);
    }
    Some(())
}

/// A run of `min` to `max` digits that ends at something else.
fn number(text: &[u8], min: usize, max: usize) -> Option<(u32, &[u8])> {
    let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if count < min || count > max {
        return None;
    }
    let (digits, rest) = text.split_at_checked(count)?;
    Some((digits.iter().fold(0u32, |v, b| v * 10 + u32::from(b - b'0')), rest))
}

fn days(year: i64, month: u32, day: u32) -> Option<i64> {
    let valid = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    valid.then(|| days_from_civil(year, month, day))
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970 of a date in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    // Years start in March, so that the leap day is the last of a year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = i64::from((month + 9) % 12);
    let day_of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::super::{format_date, format_timestamp};
    use super::*;

    #[test]
    fn timestamps_as_recorded_from_spark() {
        let cases: &[(&str, Option<&str>)] = &[
            ("2024-01-01T00:00:00Z", Some("2024-01-01 00:00:00")),
            ("2024-01-01 00:00:00", Some("2024-01-01 00:00:00")),
            ("2024-01-01T00:00:00.1Z", Some("2024-01-01 00:00:00.1")),
            ("2024-01-01T00:00:00.123456789Z", Some("2024-01-01 00:00:00.123456")),
            ("2024-01-01T00:00:00+09:00", Some("2023-12-31 15:00:00")),
            ("2024-01-01T00:00:00-0330", Some("2024-01-01 03:30:00")),
            ("2024-01-01", Some("2024-01-01 00:00:00")),
            ("2024-1-1 1:2:3", Some("2024-01-01 01:02:03")),
            ("2024", Some("2024-01-01 00:00:00")),
            ("2024-01-01T24:00:00Z", None),
            ("2024-02-30T00:00:00Z", None),
            ("2024-01-01T00:00", Some("2024-01-01 00:00:00")),
            ("2024-01-01T00:00Z", None),
            ("2024-01-01 10", Some("2024-01-01 10:00:00")),
            ("2024-01-01T", None),
            ("9999-12-31T23:59:59.999999Z", Some("9999-12-31 23:59:59.999999")),
            (" 2024-01-01T00:00:00Z ", Some("2024-01-01 00:00:00")),
            ("2024-01-01T00:00:00 Asia/Seoul", Some("2023-12-31 15:00:00")),
            ("2024-01-01 00:00:00.", Some("2024-01-01 00:00:00")),
            ("-0001-01-01 00:00:00", Some("-0001-01-01 00:00:00")),
            ("+10000-01-01", Some("+10000-01-01 00:00:00")),
            ("294248-01-01", None),
            ("epoch", None),
            ("", None),
            ("1704067200", None),
            ("20240101", None),
            ("2024-01-01x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_timestamp(text).map(format_timestamp).as_deref(), *expected, "{text:?}");
        }
    }

    #[test]
    fn both_paths_agree() {
        let mut last = LastDay::default();
        let good = [
            "1900-02-28T23:59:59.5Z",
            "1900-02-28 00:00:00",
            "2000-02-29 12:34:56.000001",
            "0001-01-01T00:00:00",
            "0000-03-01T00:00:00Z",
            "1900-02-28T01:20:09.12",
        ];
        for text in good {
            let general = segments(text.as_bytes()).and_then(|s| s.to_instant(Zone::Fixed(0)));
            assert_eq!(fixed_layout(text.as_bytes(), &mut last), general, "{text}");
            assert!(general.is_some());
        }
        // Bytes beside digits and colons, also those that would carry into the next.
        for at in 10..24 {
            for byte in 0..=255u8 {
                let mut text = *b"1900-02-28T01:20:09.125Z";
                text[at] = byte;
                if let Some(found) = fixed_layout(&text, &mut last) {
                    let general = segments(&text).and_then(|s| s.to_instant(Zone::Fixed(0)));
                    assert_eq!(Some(found), general, "{text:?}");
                }
            }
        }
        for text in ["1900-02-29T00:00:00", "1900-02-28T24:00:00", "1900-02-28T00:60:00", "1900-13-01T00:00:00"] {
            assert_eq!(fixed_layout(text.as_bytes(), &mut last), None, "{text}");
        }
    }

    /// A batch that is repeated tomorrow must have the same rows.
    #[test]
    fn a_time_alone_is_no_timestamp() {
        for text in ["00:00:00", "12:30", "T1:02", "T", "9:00:00Z"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
            assert_eq!(parse_timestamp_ntz(text, true), None, "{text}");
        }
    }

    #[test]
    fn dates() {
        let cases: &[(&str, Option<&str>)] = &[
            ("2024-01-01", Some("2024-01-01")),
            (" 2024-1-5 ", Some("2024-01-05")),
            ("2024", Some("2024-01-01")),
            ("2024-07", Some("2024-07-01")),
            ("2024-01-01 whatever", Some("2024-01-01")),
            ("2024-01-01T25", Some("2024-01-01")),
            ("2024-02-30", None),
            ("2024-01 x", None),
            ("202", None),
            ("20240101", None),
            ("12345-01-01", Some("+12345-01-01")),
            ("x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_date(text).map(format_date).as_deref(), *expected, "{text:?}");
        }
    }

    #[test]
    fn without_a_zone() {
        assert_eq!(parse_timestamp_ntz("1970-01-01 00:00:01", false), Some(1_000_000));
        assert_eq!(parse_timestamp_ntz("1970-01-01 00:00:01+09:00", false), None);
        assert_eq!(parse_timestamp_ntz("1970-01-01 00:00:01+09:00", true), Some(1_000_000));
    }

    #[test]
    fn civil_days_round_trip() {
        for day in (-1_000_000..1_000_000).step_by(37) {
            let (year, month, dom) = levada_connector_api::json::civil_from_days(day);
            assert_eq!(days_from_civil(year, month as u32, dom as u32), day);
        }
    }
}
