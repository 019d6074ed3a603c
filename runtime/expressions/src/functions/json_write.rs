//! Values as JSON, as Spark's `to_json` writes them.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Float32Type, Float64Type, TimestampMicrosecondType};
use datafusion_common::Result;
use levada_formats::scalar::{self, Formats};

use super::cast::{Mode, cast_array, display};
use super::types::timestamp;

/// How values are written.
#[derive(Default)]
pub(super) struct Writing {
    /// How dates and timestamps are written.
    pub(super) formats: Formats,
    /// Whether fields of a struct that are null are written, too.
    pub(super) nulls: bool,
}

/// Writes one value that is not null. Fields that are null are left out of a struct, but not entries out of a map.
pub(super) fn write(array: &ArrayRef, row: usize, how: &Writing, out: &mut impl Write) -> Result<()> {
    match array.data_type() {
        DataType::Struct(fields) => {
            out.write_char('{')?;
            let mut first = true;
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                if is_null(column, row) && !how.nulls {
                    continue;
                }
                separate(&mut first, out)?;
                text(field.name(), out)?;
                out.write_char(':')?;
                value(column, row, how, out)?;
            }
            out.write_char('}')?;
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            out.write_char('{')?;
            let mut first = true;
            if let [keys, values] = entries.columns() {
                for entry in 0..entries.len() {
                    separate(&mut first, out)?;
                    text(&display(keys, entry)?, out)?;
                    out.write_char(':')?;
                    value(values, entry, how, out)?;
                }
            }
            out.write_char('}')?;
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            out.write_char('[')?;
            let mut first = true;
            for item in 0..items.len() {
                separate(&mut first, out)?;
                value(&items, item, how, out)?;
            }
            out.write_char(']')?;
        }
        DataType::Utf8 => text(array.as_string::<i32>().value(row), out)?,
        DataType::Date32 => match &how.formats.date {
            Some(pattern) => {
                let day = i64::from(array.as_primitive::<Date32Type>().value(row));
                text(&pattern.format(day.saturating_mul(86_400_000_000)), out)?;
            }
            None => text(&display(array, row)?, out)?,
        },
        DataType::Binary => text(&super::binary::encode_base64(array.as_binary::<i32>().value(row)), out)?,
        DataType::Timestamp(_, zone) => {
            let micros = cast_array(&array.slice(row, 1), &timestamp(), Mode::Legacy)?;
            let micros = micros.as_primitive::<TimestampMicrosecondType>().value(0);
            if let (Some(pattern), true) = (&how.formats.timestamp, zone.is_some()) {
                return text(&pattern.format(micros), out);
            }
            let zone = if zone.is_some() { "Z" } else { "" };
            // Microseconds are cut to milliseconds.
            let text = scalar::format_timestamp(micros);
            let (day, time) = text.split_once(' ').unwrap_or((&text, ""));
            let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
            write!(out, "\"{day}T{seconds}.{fraction:0<3.3}{zone}\"")?;
        }
        DataType::Float64 => number(array.as_primitive::<Float64Type>().value(row), scalar::format_double, out)?,
        DataType::Float32 => {
            let float = array.as_primitive::<Float32Type>().value(row);
            number(f64::from(float), |_| scalar::format_float(float), out)?;
        }
        _ => out.write_str(&display(array, row)?)?,
    }
    Ok(())
}

fn value(array: &ArrayRef, row: usize, how: &Writing, out: &mut impl Write) -> Result<()> {
    if is_null(array, row) { Ok(out.write_str("null")?) } else { write(array, row, how, out) }
}

/// Arrays of the type without values say that nothing in them is null.
fn is_null(array: &ArrayRef, row: usize) -> bool {
    array.is_null(row) || *array.data_type() == DataType::Null
}

fn separate(first: &mut bool, out: &mut impl Write) -> Result<()> {
    if !std::mem::take(first) {
        out.write_char(',')?;
    }
    Ok(())
}

/// What is no number in JSON becomes text.
fn number(value: f64, format: impl Fn(f64) -> String, out: &mut impl Write) -> Result<()> {
    if value.is_finite() { Ok(out.write_str(&format(value))?) } else { text(&format(value), out) }
}

/// A JSON string.
pub(super) fn text(value: &str, out: &mut impl Write) -> Result<()> {
    out.write_char('"')?;
    for c in value.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\u{8}' => out.write_str("\\b")?,
            '\u{c}' => out.write_str("\\f")?,
            c if (c as u32) < 0x20 => write!(out, "\\u{:04X}", c as u32)?,
            c => out.write_char(c)?,
        }
    }
    Ok(out.write_char('"')?)
}
