//! Java's patterns for dates and times: `yyyy-MM-dd'T'HH:mm:ss.SSSX`.

use std::sync::Arc;

use chrono::{Datelike, NaiveDate, NaiveTime};

use super::calendar::on_calendar;

/// The patterns of dates and timestamps in text. Without one, text is read as a cast reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Formats {
    /// The pattern of dates.
    pub date: Option<Arc<Pattern>>,
    /// The pattern of timestamps. Those without time zone are read as without a pattern.
    pub timestamp: Option<Arc<Pattern>>,
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// A letter and how often it stands there.
    Field(char, usize),
    Text(String),
    /// What a text may lack: `[.SSS]`.
    Optional(Vec<Piece>),
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// It has a letter that stands for nothing here; the message says which.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut outer: Vec<Vec<Piece>> = Vec::new();
        let mut chars = text.chars().peekable();
        let push = |pieces: &mut Vec<Piece>, c: char| match pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(c),
            _ => pieces.push(Piece::Text(c.to_string())),
        };
        while let Some(c) = chars.next() {
            match c {
                '\'' if chars.peek() == Some(&'\'') => {
                    chars.next();
                    push(&mut pieces, '\'');
                }
                '\'' => loop {
                    match chars.next() {
                        Some('\'') if chars.peek() == Some(&'\'') => {
                            chars.next();
                            push(&mut pieces, '\'');
                        }
                        Some('\'') => break,
                        Some(c) => push(&mut pieces, c),
                        None => return Err("a quote is not closed".into()),
                    }
                },
                c if c.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while chars.next_if_eq(&c).is_some() {
                        count += 1;
                    }
                    let known = match c {
                        'y' | 'u' => count <= 6,
                        'M' | 'L' => count <= 4,
                        'd' | 'H' | 'h' | 'k' | 'K' | 'm' | 's' => count <= 2,
                        'D' => count <= 3,
                        'S' => count <= 9,
                        'a' => count == 1,
                        'E' | 'Q' | 'q' | 'G' => count <= 4,
                        'X' | 'x' => count <= 3,
                        'Z' => count <= 3,
                        'z' => count <= 4,
                        'V' => count == 2,
                        _ => false,
                    };
                    if !known {
                        let letters: String = std::iter::repeat_n(c, count).collect();
                        return Err(format!("'{letters}' is not supported in a pattern"));
                    }
                    pieces.push(Piece::Field(c, count));
                }
                '[' => outer.push(std::mem::take(&mut pieces)),
                ']' => {
                    let around = outer.pop().ok_or("']' without '['")?;
                    let inner = std::mem::replace(&mut pieces, around);
                    pieces.push(Piece::Optional(inner));
                }
                '#' | '{' | '}' => return Err(format!("'{c}' is not supported in a pattern")),
                c => push(&mut pieces, c),
            }
        }
        // Java closes what is open at the end.
        while let Some(around) = outer.pop() {
            let inner = std::mem::replace(&mut pieces, around);
            pieces.push(Piece::Optional(inner));
        }
        Ok(Self { pieces })
    }

    /// A time as text.
    pub fn format(&self, micros: i64) -> String {
        let (day, year) = on_calendar(micros.div_euclid(MICROS_PER_DAY));
        let of_day = micros.rem_euclid(MICROS_PER_DAY);
        // Without an era the year goes on below 1, as in Spark.
        let era = has_era(&self.pieces);
        let time = Moment { day, year, of_day, era };
        let mut out = String::with_capacity(24);
        write(&self.pieces, &time, &mut out);
        out
    }

    /// The time of a text; `None` if it does not fit the pattern.
    pub fn parse(&self, text: &str) -> Option<i64> {
        let mut parsed = Parsed::default();
        let rest = read(&self.pieces, &mut parsed, text)?;
        if rest.is_empty() { parsed.micros() } else { None }
    }

    /// The day of a text, since 1970; `None` if it does not fit the pattern.
    pub fn parse_date(&self, text: &str) -> Option<i32> {
        i32::try_from(self.parse(text)?.div_euclid(MICROS_PER_DAY)).ok()
    }
}

fn has_era(pieces: &[Piece]) -> bool {
    pieces.iter().any(|piece| match piece {
        Piece::Field(letter, _) => *letter == 'G',
        Piece::Optional(inner) => has_era(inner),
        Piece::Text(_) => false,
    })
}

fn write(pieces: &[Piece], time: &Moment, out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Field(letter, count) => field(time, *letter, *count, out),
            Piece::Optional(inner) => write(inner, time, out),
        }
    }
}

/// Reads pieces and answers with what is left.
fn read<'a>(pieces: &[Piece], parsed: &mut Parsed, text: &'a str) -> Option<&'a str> {
    let mut rest = text;
    for (index, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => rest = rest.strip_prefix(text.as_str())?,
            Piece::Field(letter, count) => {
                // Fields without anything between them take as many digits as they have letters.
                let adjacent = matches!(pieces.get(index + 1), Some(Piece::Field(next, _)) if is_number(*next));
                rest = parsed.take(*letter, *count, adjacent, rest)?;
            }
            Piece::Optional(inner) => {
                let mut trial = parsed.clone();
                if let Some(after) = read(inner, &mut trial, rest) {
                    *parsed = trial;
                    rest = after;
                }
            }
        }
    }
    Some(rest)
}

fn is_number(letter: char) -> bool {
    matches!(letter, 'y' | 'u' | 'd' | 'H' | 'h' | 'k' | 'K' | 'm' | 's' | 'D' | 'S' | 'M' | 'L')
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A time that is written.
struct Moment {
    /// A day with the same place in its year, and the same weekday.
    day: NaiveDate,
    year: i64,
    /// Microseconds since midnight.
    of_day: i64,
    /// Whether the pattern has an era, which years are counted in.
    era: bool,
}

/// A year as Java writes it: with a sign when it is negative, or wider than the pattern says.
fn year(year: i64, count: usize) -> String {
    let wide = count >= 4 && u32::try_from(count).is_ok_and(|count| year >= 10i64.pow(count));
    let sign = if year < 0 {
        "-"
    } else if wide {
        "+"
    } else {
        ""
    };
    format!("{sign}{:0count$}", year.unsigned_abs())
}

fn field(time: &Moment, letter: char, count: usize, out: &mut String) {
    let Moment { day, of_day, .. } = time;
    let padded = |value: i64| format!("{value:0count$}");
    let hour = of_day / 3_600_000_000;
    let before = time.era && time.year < 1;
    let of_era = if before && letter == 'y' { 1 - time.year } else { time.year };
    let text = match letter {
        'y' | 'u' if count == 2 => format!("{:02}", of_era.unsigned_abs() % 100),
        'y' | 'u' => year(of_era, count),
        'M' | 'L' => match count {
            1 | 2 => padded(day.month().into()),
            3 => short(MONTHS.get(day.month0() as usize)),
            _ => full(MONTHS.get(day.month0() as usize)),
        },
        'd' => padded(day.day().into()),
        'D' => padded(day.ordinal().into()),
        'Q' | 'q' => match count {
            1 | 2 => padded(i64::from(day.month0() / 3 + 1)),
            3 => format!("Q{}", day.month0() / 3 + 1),
            _ => full(["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"].get(day.month0() as usize / 3)),
        },
        'E' if count <= 3 => short(DAYS.get(day.weekday().num_days_from_monday() as usize)),
        'E' => full(DAYS.get(day.weekday().num_days_from_monday() as usize)),
        'H' => padded(hour),
        'k' => padded(if hour == 0 { 24 } else { hour }),
        'K' => padded(hour % 12),
        'h' => padded(if hour % 12 == 0 { 12 } else { hour % 12 }),
        'm' => padded(of_day / 60_000_000 % 60),
        's' => padded(of_day / 1_000_000 % 60),
        'S' => format!("{:06}000", of_day % 1_000_000).chars().take(count).collect(),
        'a' => if hour < 12 { "AM" } else { "PM" }.into(),
        'G' if count == 4 => if before { "Before Christ" } else { "Anno Domini" }.into(),
        'G' => if before { "BC" } else { "AD" }.into(),
        'X' => "Z".into(),
        'V' => "UTC".into(),
        'z' if count == 4 => "Coordinated Universal Time".into(),
        'z' => "UTC".into(),
        'x' => match count {
            1 => "+00".into(),
            2 => "+0000".into(),
            _ => "+00:00".into(),
        },
        _ => "+0000".into(),
    };
    out.push_str(&text);
}

fn short(name: Option<&&str>) -> String {
    name.map(|name| name.chars().take(3).collect()).unwrap_or_default()
}

fn full(name: Option<&&str>) -> String {
    name.copied().unwrap_or_default().to_owned()
}

/// What has been read so far.
#[derive(Debug, Clone, Default)]
struct Parsed {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    ordinal: Option<u32>,
    hour: Option<u32>,
    half_hour: Option<u32>,
    afternoon: Option<bool>,
    minute: Option<u32>,
    second: Option<u32>,
    nano: u32,
    offset: i64,
}

impl Parsed {
    /// Reads a field and answers with what is left.
    fn take<'a>(&mut self, letter: char, count: usize, adjacent: bool, text: &'a str) -> Option<&'a str> {
        // The widths that Java reads: a single letter takes all digits, several take just as many.
        let (low, high) = match letter {
            'y' | 'u' if count == 2 => (2, 2),
            'y' | 'u' => (count, if adjacent { count } else { count.max(6) }),
            'S' => (count, count),
            _ if count == 1 && !adjacent => (1, if letter == 'D' { 3 } else { 2 }),
            _ => (count, count),
        };
        match letter {
            'M' | 'L' if count >= 3 => {
                let (month, rest) = named(text, &MONTHS, count == 3)?;
                self.month = Some(month + 1);
                return Some(rest);
            }
            'E' => return named(text, &DAYS, count <= 3).map(|(_, rest)| rest),
            'a' => {
                let half = text.get(..2)?;
                self.afternoon = Some(half.eq_ignore_ascii_case("pm"));
                return (half.eq_ignore_ascii_case("am") || half.eq_ignore_ascii_case("pm")).then(|| text.get(2..))?;
            }
            'G' => return text.strip_prefix("AD"),
            'z' | 'V' => return ["UTC", "GMT", "Z"].iter().find_map(|zone| text.strip_prefix(zone)),
            'X' | 'x' | 'Z' => return self.take_offset(letter, text),
            'Q' | 'q' => return None,
            _ => {}
        }
        let digits = text.bytes().take(high).take_while(u8::is_ascii_digit).count();
        if digits < low {
            return None;
        }
        let (number, rest) = text.split_at(digits);
        let value: u32 = number.parse().ok()?;
        match letter {
            'y' | 'u' if count == 2 => self.year = Some(2000 + i32::try_from(value).ok()?),
            'y' | 'u' => self.year = i32::try_from(value).ok(),
            'M' | 'L' => self.month = Some(value),
            'd' => self.day = Some(value),
            'D' => self.ordinal = Some(value),
            'H' => self.hour = Some(value).filter(|hour| *hour < 24),
            'k' => self.hour = Some(value % 24).filter(|_| (1..=24).contains(&value)),
            'K' => self.half_hour = Some(value).filter(|hour| *hour < 12),
            'h' => self.half_hour = Some(value % 12).filter(|_| (1..=12).contains(&value)),
            'm' => self.minute = Some(value).filter(|minute| *minute < 60),
            's' => self.second = Some(value).filter(|second| *second < 60),
            _ => self.nano = value.checked_mul(10u32.pow(u32::try_from(9 - count.min(9)).ok()?))?,
        }
        let valid = match letter {
            'H' | 'k' => self.hour.is_some(),
            'K' | 'h' => self.half_hour.is_some(),
            'm' => self.minute.is_some(),
            's' => self.second.is_some(),
            _ => true,
        };
        valid.then_some(rest)
    }

    fn take_offset<'a>(&mut self, letter: char, text: &'a str) -> Option<&'a str> {
        if letter == 'X'
            && let Some(rest) = text.strip_prefix('Z')
        {
            return Some(rest);
        }
        let sign = match text.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let rest = text.get(1..)?;
        let hours: i64 = rest.get(..2)?.parse().ok()?;
        let rest = rest.get(2..)?;
        let tail = rest.strip_prefix(':').unwrap_or(rest);
        let minutes = tail.get(..2).and_then(|minutes| minutes.parse::<i64>().ok());
        self.offset = sign * (hours * 3600 + minutes.unwrap_or(0) * 60);
        if minutes.is_some() { tail.get(2..) } else { Some(rest) }
    }

    fn micros(&self) -> Option<i64> {
        let year = self.year.unwrap_or(1970);
        let date = match self.ordinal {
            Some(ordinal) => NaiveDate::from_yo_opt(year, ordinal)?,
            None => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let hour = match (self.hour, self.half_hour) {
            (Some(hour), _) => hour,
            (None, Some(half)) => half + if self.afternoon == Some(true) { 12 } else { 0 },
            (None, None) => 0,
        };
        let time = NaiveTime::from_hms_nano_opt(hour, self.minute.unwrap_or(0), self.second.unwrap_or(0), self.nano)?;
        date.and_time(time).and_utc().timestamp_micros().checked_sub(self.offset.checked_mul(1_000_000)?)
    }
}

fn named<'a>(text: &'a str, names: &[&str], short: bool) -> Option<(u32, &'a str)> {
    for (index, name) in names.iter().enumerate() {
        let name = if short { name.get(..3)? } else { name };
        if text.get(..name.len()).is_some_and(|start| start == name) {
            return Some((u32::try_from(index).ok()?, text.get(name.len()..)?));
        }
    }
    None
}
