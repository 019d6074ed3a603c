//! Time zone names, as Spark hands them to `java.time.ZoneId`.

use chrono::{NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

use super::time::MICROS_PER_SECOND;

/// A time zone: a fixed offset or a region with its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A region such as `Asia/Seoul`.
    Region(Tz),
}

/// Java's short names that are not region names.
const SHORT_IDS: [(&str, Zone); 28] = [
    ("ACT", Zone::Region(Tz::Australia__Darwin)),
    ("AET", Zone::Region(Tz::Australia__Sydney)),
    ("AGT", Zone::Region(Tz::America__Argentina__Buenos_Aires)),
    ("ART", Zone::Region(Tz::Africa__Cairo)),
    ("AST", Zone::Region(Tz::America__Anchorage)),
    ("BET", Zone::Region(Tz::America__Sao_Paulo)),
    ("BST", Zone::Region(Tz::Asia__Dhaka)),
    ("CAT", Zone::Region(Tz::Africa__Harare)),
    ("CNT", Zone::Region(Tz::America__St_Johns)),
    ("CST", Zone::Region(Tz::America__Chicago)),
    ("CTT", Zone::Region(Tz::Asia__Shanghai)),
    ("EAT", Zone::Region(Tz::Africa__Addis_Ababa)),
    ("ECT", Zone::Region(Tz::Europe__Paris)),
    ("IET", Zone::Region(Tz::America__Indiana__Indianapolis)),
    ("IST", Zone::Region(Tz::Asia__Kolkata)),
    ("JST", Zone::Region(Tz::Asia__Tokyo)),
    ("MIT", Zone::Region(Tz::Pacific__Apia)),
    ("NET", Zone::Region(Tz::Asia__Yerevan)),
    ("NST", Zone::Region(Tz::Pacific__Auckland)),
    ("PLT", Zone::Region(Tz::Asia__Karachi)),
    ("PNT", Zone::Region(Tz::America__Phoenix)),
    ("PRT", Zone::Region(Tz::America__Puerto_Rico)),
    ("PST", Zone::Region(Tz::America__Los_Angeles)),
    ("SST", Zone::Region(Tz::Pacific__Guadalcanal)),
    ("VST", Zone::Region(Tz::Asia__Ho_Chi_Minh)),
    ("EST", Zone::Fixed(-5 * 3600)),
    ("MST", Zone::Fixed(-7 * 3600)),
    ("HST", Zone::Fixed(-10 * 3600)),
];

/// A zone by name: `Z`, `+9:00`, `-0330`, `UTC+9`, `JST`, `Asia/Seoul`. Names match with case.
pub fn parse_zone(name: &str) -> Option<Zone> {
    let name = name.trim_matches(|c| c <= ' ');
    if let Some((_, zone)) = SHORT_IDS.iter().find(|(short, _)| *short == name) {
        return Some(*zone);
    }
    if name == "Z" {
        return Some(Zone::Fixed(0));
    }
    if name.starts_with(['+', '-']) {
        return parse_offset(name).map(Zone::Fixed);
    }
    for prefix in ["UTC", "GMT", "UT"] {
        match name.strip_prefix(prefix) {
            Some("") => return Some(Zone::Fixed(0)),
            Some(rest) if rest.starts_with(['+', '-']) => return parse_offset(rest).map(Zone::Fixed),
            _ => {}
        }
    }
    name.parse().ok().map(Zone::Region)
}

/// `+h`, `+hh`, `+h:mm`, `+hh:m`, `+hh:mm`, `+hhmm`, `+hh:mm:ss`, `+hhmmss`, up to 18 hours, in seconds.
fn parse_offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => return None,
    };
    let number = |part: &[u8]| {
        let valid = (1..=2).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
        valid.then(|| part.iter().fold(0i32, |v, b| v * 10 + i32::from(b - b'0')))
    };
    let (hours, minutes, seconds) = if digits.contains(&b':') {
        let mut parts = digits.split(|b| *b == b':');
        let hours = number(parts.next()?)?;
        let minute_digits = parts.next()?;
        let seconds = parts.next();
        // One digit of minutes is allowed at the end only, one digit of seconds never.
        if parts.next().is_some()
            || seconds.is_some_and(|s| s.len() != 2) | (seconds.is_some() && minute_digits.len() != 2)
        {
            return None;
        }
        (hours, number(minute_digits)?, seconds.map_or(Some(0), number)?)
    } else {
        match digits {
            [_] | [_, _] => (number(digits)?, 0, 0),
            [h @ .., _, _] if h.len() == 2 => (number(h)?, number(digits.get(2..)?)?, 0),
            [h1, h2, m1, m2, s @ ..] if s.len() == 2 => (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(s)?),
            _ => return None,
        }
    };
    let total = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && total <= 18 * 3600).then_some(sign * total)
}

impl Zone {
    /// The instant of a local time, both in microseconds. In an overlap the earlier offset holds; a time in a gap moves
    /// forward by the gap's length.
    pub fn to_utc(self, local: i64) -> Option<i64> {
        let seconds = match self {
            Self::Fixed(seconds) => seconds,
            Self::Region(Tz::UTC) => 0,
            Self::Region(zone) => region_offset(zone, chrono::DateTime::from_timestamp_micros(local)?.naive_utc())?,
        };
        local.checked_sub(i64::from(seconds) * MICROS_PER_SECOND)
    }

    /// The local time of an instant, both in microseconds.
    pub fn to_local(self, utc: i64) -> Option<i64> {
        let seconds = match self {
            Self::Fixed(seconds) => seconds,
            Self::Region(zone) => {
                let utc = chrono::DateTime::from_timestamp_micros(utc)?.naive_utc();
                zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()
            }
        };
        utc.checked_add(i64::from(seconds) * MICROS_PER_SECOND)
    }
}

fn region_offset(zone: Tz, local: NaiveDateTime) -> Option<i32> {
    if let Some(offset) = zone.offset_from_local_datetime(&local).earliest() {
        return Some(offset.fix().local_minus_utc());
    }
    // In a gap: the offset that held before it. No gap is longer than a day, and no two are that close.
    let before = local.checked_sub_signed(TimeDelta::hours(25))?;
    zone.offset_from_local_datetime(&before).earliest().map(|offset| offset.fix().local_minus_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, seconds) in [
            ("Z", 0),
            ("UTC", 0),
            ("GMT+9", 9 * 3600),
            ("UT-03:30", -(3 * 3600 + 1800)),
            ("+9:00", 9 * 3600),
            ("+09:5", 9 * 3600 + 300),
            ("-0330", -(3 * 3600 + 1800)),
            ("+01:02:03", 3723),
            ("+010203", 3723),
            ("EST", -5 * 3600),
        ] {
            assert_eq!(parse_zone(name), Some(Zone::Fixed(seconds)), "{name}");
        }
        assert_eq!(parse_zone(" Asia/Seoul"), Some(Zone::Region(Tz::Asia__Seoul)));
        assert_eq!(parse_zone("JST"), Some(Zone::Region(Tz::Asia__Tokyo)));
        for name in ["", "z", "+", "+19:00", "+1:60", "+123", "+1:2:3", "Mars/Olympus", ".Z", "+1a"] {
            assert_eq!(parse_zone(name), None, "{name}");
        }
    }

    #[test]
    fn gaps_move_forward_and_overlaps_take_the_earlier_offset() {
        let at = |text: &str| super::super::parse_timestamp_in(text, Tz::Europe__Paris);
        let utc = |text: &str| super::super::parse_timestamp(text);
        assert_eq!(at("2024-03-31 02:30:00"), utc("2024-03-31 01:30:00"));
        assert_eq!(at("2024-10-27 02:30:00"), utc("2024-10-27 00:30:00"));
    }
}
