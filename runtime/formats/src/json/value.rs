//! Values into columns, by the column's type.

use super::binary;
use super::cursor::{Cursor, Number, Numeric, Syntax, Text};
use super::record::Record;
use super::walk::{MAX_DEPTH, Rewrite, Skip, walk};
use crate::column::{Bytes, Column, Values};
use crate::json::JsonMode;
use crate::scalar::{
    Formats, LastDay, decimal_of_number, parse_timestamp_bytes, parse_timestamp_ntz, text_to_date_lenient,
    text_to_timestamp_lenient,
};

/// How a value fitted its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// As a value or a null.
    Whole,
    /// A struct, list or map was appended in which something had to become null.
    Partly,
    /// Not at all: a null was appended.
    Not,
}

/// What decoding needs beside the columns.
pub(crate) struct Scratch {
    pub(crate) text: Vec<u8>,
    pub(crate) open: Vec<u8>,
    pub(crate) mode: JsonMode,
    /// Whether null in a nested NOT NULL field is an error.
    pub(crate) strict: bool,
    /// Whether text may be NaN or infinite.
    pub(crate) special: bool,
    /// The column of the row that had the first bad value, and the value's place.
    pub(crate) bad: Option<(usize, usize, usize)>,
    day: LastDay,
    depth: usize,
    formats: Formats,
}

impl Scratch {
    pub(crate) fn new(mode: JsonMode, strict: bool, formats: Formats) -> Self {
        let (text, open, day) = (Vec::new(), Vec::new(), LastDay::default());
        Self { text, open, mode, strict, special: true, bad: None, day, depth: 0, formats }
    }

    pub(crate) fn reset(&mut self) {
        self.bad = None;
        self.depth = 0;
    }
}

/// Reads an object after its opening bracket into row `row` of `record`. Columns that it does not name become null.
pub(crate) fn object(
    place: &mut Cursor<'_>,
    record: &mut Record,
    row: usize,
    scratch: &mut Scratch,
) -> Result<Fit, Syntax> {
    let mut cursor = *place;
    let top = scratch.depth == 0;
    let mut fit = Fit::Whole;
    let mut filled = 0;
    let Record { columns, names, required } = record;
    names.restart();
    let mut first = true;
    loop {
        let index = match names.foresee(&mut cursor) {
            Some(index) => {
                cursor.skip_blanks();
                index
            }
            None => {
                let start = cursor.at;
                cursor.skip_blanks();
                match cursor.peek() {
                    b'}' => {
                        cursor.at += 1;
                        break;
                    }
                    b',' if !first => {
                        cursor.at += 1;
                        cursor.skip_blanks();
                    }
                    _ if first => {}
                    _ => return cursor.fail("expected a comma or the closing bracket"),
                }
                let quote = cursor.peek();
                if quote != b'"' && quote != b'\'' {
                    return cursor.fail("expected a name in quotes");
                }
                cursor.at += 1;
                let index = names.read(&mut cursor, quote, &mut scratch.text)?;
                let index = index.and_then(|number| names.columns.get(number).copied()).unwrap_or(usize::MAX);
                cursor.skip_blanks();
                cursor.expect(b':', "expected a colon after the name")?;
                cursor.skip_blanks();
                names.learn(cursor.bytes.get(start..cursor.at).unwrap_or_default(), index);
                index
            }
        };
        first = false;
        match columns.get_mut(index) {
            Some(column) => {
                let start = cursor.at;
                let value_fit = if column.len == row {
                    filled += 1;
                    value(&mut cursor, column, scratch)?
                } else {
                    let (fit, at) = again(cursor, column, row, scratch)?;
                    cursor.at = at;
                    fit
                };
                if value_fit != Fit::Whole {
                    fit = Fit::Partly;
                    if top && scratch.bad.is_none() {
                        scratch.bad = Some((index, start, cursor.at));
                    }
                }
            }
            None => skip(&mut cursor, scratch)?,
        }
    }
    if filled < columns.len() {
        columns.iter_mut().filter(|c| c.len == row).for_each(Column::append_null);
    }
    if scratch.strict && required.iter().any(|i| columns.get(*i).is_some_and(|c| c.nulls.is_null(row))) {
        fit = Fit::Partly;
    }
    *place = cursor;
    Ok(fit)
}

/// A name that came before in the same object: its last value counts, unless that one does not fit.
#[cold]
fn again(
    mut cursor: Cursor<'_>,
    column: &mut Column,
    row: usize,
    scratch: &mut Scratch,
) -> Result<(Fit, usize), Syntax> {
    let start = cursor.at;
    let Ok(mut trial) = Column::new(&column.data_type) else {
        skip(&mut cursor, scratch)?;
        return Ok((Fit::Not, cursor.at));
    };
    let fit = value_slow(&mut cursor, &mut trial, scratch)?;
    if fit != Fit::Not {
        column.truncate(row);
        cursor.at = start;
        value_slow(&mut cursor, column, scratch)?;
    }
    Ok((fit, cursor.at))
}

#[inline(always)]
fn skip(cursor: &mut Cursor<'_>, scratch: &mut Scratch) -> Result<(), Syntax> {
    match cursor.peek() {
        b'"' => {
            cursor.at += 1;
            cursor.string(b'"', &mut scratch.text)?;
        }
        b'0'..=b'9' => {
            cursor.numeric()?;
        }
        _ => cursor.at = skip_slow(*cursor, scratch)?,
    }
    Ok(())
}

#[inline(never)]
fn skip_slow(mut cursor: Cursor<'_>, scratch: &mut Scratch) -> Result<usize, Syntax> {
    walk(&mut cursor, &mut Skip, &mut scratch.open, &mut scratch.text)?;
    Ok(cursor.at)
}

/// A value that does not fit the column.
#[cold]
fn misfit(cursor: &mut Cursor<'_>, column: &mut Column, scratch: &mut Scratch) -> Result<Fit, Syntax> {
    skip(cursor, scratch)?;
    column.append_null();
    Ok(Fit::Not)
}

/// Appends what a token gave, or a null.
#[inline(always)]
fn fit(column: &mut Column, pushed: Option<()>) -> Fit {
    match pushed {
        Some(()) => {
            column.accept();
            Fit::Whole
        }
        None => {
            column.append_null();
            Fit::Not
        }
    }
}

/// Reads one value and appends one row to the column.
#[inline(always)]
fn value(cursor: &mut Cursor<'_>, column: &mut Column, scratch: &mut Scratch) -> Result<Fit, Syntax> {
    match cursor.peek() {
        b'"' => string(cursor, column, b'"', scratch),
        b'-' | b'0'..=b'9' => number(cursor, column, scratch),
        b't' | b'f' if let Some(fit) = boolean(cursor, column) => Ok(fit),
        _ => {
            let mut place = *cursor;
            let fit = other(&mut place, column, scratch)?;
            *cursor = place;
            Ok(fit)
        }
    }
}

/// A truth value into a column of such.
#[inline(always)]
fn boolean(cursor: &mut Cursor<'_>, column: &mut Column) -> Option<Fit> {
    let Values::Boolean(values) = &mut column.values else { return None };
    let (length, value) = match cursor.bytes.get(cursor.at..)? {
        [b't', b'r', b'u', b'e', ..] => (4, true),
        [b'f', b'a', b'l', b's', b'e', ..] => (5, false),
        _ => return None,
    };
    values.push(value);
    cursor.at += length;
    column.accept();
    Some(Fit::Whole)
}

/// As [`value`], where it is not worth its size.
#[inline(never)]
fn value_slow(cursor: &mut Cursor<'_>, column: &mut Column, scratch: &mut Scratch) -> Result<Fit, Syntax> {
    value(cursor, column, scratch)
}

#[inline(always)]
fn string(cursor: &mut Cursor<'_>, column: &mut Column, quote: u8, scratch: &mut Scratch) -> Result<Fit, Syntax> {
    cursor.at += 1;
    let padded = cursor.bytes.get(cursor.at..).and_then(|rest| rest.first_chunk());
    let text = cursor.string(quote, &mut scratch.text)?;
    let padded = if matches!(text, Text::Plain(_)) { padded } else { None };
    let text = text.bytes(&scratch.text);
    let pushed = match &mut column.values {
        Values::Utf8(v) => {
            v.push_short(text, padded);
            Some(())
        }
        Values::Timestamp(v) if scratch.formats.timestamp.is_none() => parse_timestamp_bytes(text, &mut scratch.day)
            .or_else(|| text_to_timestamp_lenient(utf8(text)?))
            .map(|t| v.push(t)),
        _ => string_slow(&mut column.values, text, &scratch.formats, scratch.special),
    };
    Ok(fit(column, pushed))
}

/// The types that rarely come as strings.
#[inline(never)]
fn string_slow(values: &mut Values, text: &[u8], formats: &Formats, numbers: bool) -> Option<()> {
    match values {
        Values::Float32(_) | Values::Float64(_) if !numbers => return None,
        Values::Timestamp(v) => v.push(formats.timestamp.as_ref()?.parse(utf8(text)?)?),
        Values::TimestampNtz(v) => v.push(parse_timestamp_ntz(utf8(text)?, false)?),
        Values::Date(v) => v.push(match &formats.date {
            None => date(utf8(text)?)?,
            Some(pattern) => pattern.parse_date(utf8(text)?)?,
        }),
        Values::Float32(v) => v.push(special(text)? as f32),
        Values::Float64(v) => v.push(special(text)?),
        Values::Decimal(v, precision, scale) => {
            // Commas are the grouping of the US locale.
            let digits: Vec<u8> = text.iter().copied().filter(|b| *b != b',').collect();
            v.push(decimal_of_number(&digits, *precision, *scale)?);
        }
        Values::Binary(v) => {
            if !binary::decode(text, v.data()) {
                return None;
            }
            v.close();
        }
        _ => return None,
    }
    Some(())
}

fn utf8(text: &[u8]) -> Option<&str> {
    simdutf8::basic::from_utf8(text).ok()
}

fn special(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"+INF" | b"+Infinity" | b"Infinity" => Some(f64::INFINITY),
        b"-INF" | b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A date, or the number of days that Spark 1.5 wrote. Days before the Gregorian calendar are refused: Spark would move
/// them to the calendar of that time.
fn date(text: &str) -> Option<i32> {
    const GREGORIAN: i32 = -141_427;
    text_to_date_lenient(text).or_else(|| text.parse().ok().filter(|days| *days >= GREGORIAN))
}

#[inline(always)]
fn number(cursor: &mut Cursor<'_>, column: &mut Column, scratch: &mut Scratch) -> Result<Fit, Syntax> {
    let start = cursor.at;
    let numeric = cursor.numeric()?;
    let pushed = match (&mut column.values, numeric) {
        (Values::Utf8(v), numeric) => {
            match scratch.mode {
                JsonMode::Source => v.push(cursor.bytes.get(start..cursor.at).unwrap_or_default()),
                JsonMode::FromJson | JsonMode::Message => rewrite_number(v, numeric),
            }
            Some(())
        }
        (values, Numeric::Finite(number)) => push_number(values, number),
        (Values::Float32(v), Numeric::Special(value)) => {
            v.push(value as f32);
            Some(())
        }
        (Values::Float64(v), Numeric::Special(value)) => {
            v.push(value);
            Some(())
        }
        _ => None,
    };
    Ok(fit(column, pushed))
}

fn rewrite_number(text: &mut Bytes, numeric: Numeric<'_>) {
    use super::walk::Tokens;
    let mut tokens = Rewrite(text.data());
    match numeric {
        Numeric::Finite(number) => tokens.number(number),
        Numeric::Special(value) => tokens.special(value),
    }
    text.close();
}

#[inline(always)]
fn push_number(values: &mut Values, number: Number<'_>) -> Option<()> {
    match values {
        Values::Int32(v) => v.push(i32::try_from(number.to_i64()?).ok()?),
        Values::Int64(v) => v.push(number.to_i64()?),
        Values::Float64(v) => v.push(number.to_f64()),
        Values::Float32(v) => v.push(number.to_f32()),
        // Seconds; Java's product wraps around.
        Values::Timestamp(v) => v.push(number.to_i64()?.wrapping_mul(1_000_000)),
        Values::Int16(v) => v.push(i16::try_from(number.to_i64()?).ok()?),
        // Jackson takes -128 to 255 as bytes, since either reading of a byte names them.
        Values::Int8(v) => {
            let value = number.to_i64()?;
            v.push(i8::try_from(value).ok().or_else(|| u8::try_from(value).ok().map(u8::cast_signed))?);
        }
        Values::Decimal(v, precision, scale) => v.push(decimal_of_number(number.text, *precision, *scale)?),
        _ => return None,
    }
    Some(())
}

/// Values that start with neither a double quote nor a digit.
#[inline(never)]
fn other(cursor: &mut Cursor<'_>, column: &mut Column, scratch: &mut Scratch) -> Result<Fit, Syntax> {
    let start = cursor.at;
    let first = cursor.peek();
    match first {
        b'\'' => return string(cursor, column, first, scratch),
        b'N' | b'I' | b'+' => return number(cursor, column, scratch),
        _ => {}
    }
    if first == b'n' {
        cursor.word(b"null")?;
        column.append_null();
        return Ok(Fit::Whole);
    }
    match (&mut column.values, first) {
        (Values::Boolean(_), b't' | b'f') => return cursor.fail("this is no value"),
        (Values::Utf8(v), _) => match scratch.mode {
            JsonMode::Source => {
                walk(cursor, &mut Skip, &mut scratch.open, &mut scratch.text)?;
                v.push(cursor.bytes.get(start..cursor.at).unwrap_or_default());
            }
            JsonMode::FromJson | JsonMode::Message => {
                walk(cursor, &mut Rewrite(v.data()), &mut scratch.open, &mut scratch.text)?;
                v.close();
            }
        },
        (Values::Null, _) => {
            skip(cursor, scratch)?;
            column.append_null();
            return Ok(Fit::Whole);
        }
        (Values::Struct(_) | Values::Map { .. }, b'{') | (Values::List { .. }, b'[') => {
            if scratch.depth >= MAX_DEPTH {
                return cursor.fail("the value is nested too deeply");
            }
            cursor.at += 1;
            scratch.depth += 1;
            let fit = nested(cursor, column, scratch)?;
            scratch.depth -= 1;
            return Ok(fit);
        }
        _ => return misfit(cursor, column, scratch),
    }
    column.accept();
    Ok(Fit::Whole)
}

/// An object or array after its opening bracket, into a column of that shape.
fn nested(cursor: &mut Cursor<'_>, column: &mut Column, scratch: &mut Scratch) -> Result<Fit, Syntax> {
    let row = column.len;
    let fit = match &mut column.values {
        Values::Struct(record) => object(cursor, record, row, scratch)?,
        Values::List { offsets, items } => {
            let fit = elements(cursor, None, items, scratch)?;
            if fit != Fit::Not {
                offsets.push(i32::try_from(items.len).unwrap_or(i32::MAX));
            }
            fit
        }
        Values::Map { offsets, keys, values } => {
            let fit = elements(cursor, Some(keys), values, scratch)?;
            if fit != Fit::Not {
                offsets.push(i32::try_from(values.len).unwrap_or(i32::MAX));
            }
            fit
        }
        _ => Fit::Not,
    };
    if fit == Fit::Not {
        column.append_null();
        column.trim();
    } else {
        column.accept();
    }
    Ok(fit)
}

/// The elements of an array, or of an object into a map. One that does not fit at all undoes the whole.
fn elements(
    cursor: &mut Cursor<'_>,
    mut keys: Option<&mut Box<Column>>,
    items: &mut Column,
    scratch: &mut Scratch,
) -> Result<Fit, Syntax> {
    let close = if keys.is_some() { b'}' } else { b']' };
    let mut fit = Fit::Whole;
    cursor.skip_blanks();
    if cursor.peek() == close {
        cursor.at += 1;
        return Ok(fit);
    }
    loop {
        if let Some(keys) = &mut keys {
            let quote = cursor.peek();
            if !matches!(quote, b'"' | b'\'') {
                return cursor.fail("expected a name in quotes");
            }
            string(cursor, keys, quote, scratch)?;
            cursor.skip_blanks();
            cursor.expect(b':', "expected a colon after the name")?;
            cursor.skip_blanks();
        }
        if fit == Fit::Not {
            skip(cursor, scratch)?;
        } else {
            match value_slow(cursor, items, scratch)? {
                Fit::Whole => {}
                other => fit = other,
            }
        }
        cursor.skip_blanks();
        match cursor.peek() {
            b',' => {
                cursor.at += 1;
                cursor.skip_blanks();
            }
            byte if byte == close => {
                cursor.at += 1;
                return Ok(fit);
            }
            _ => return cursor.fail("expected a comma or the closing bracket"),
        }
    }
}
