//! Rows as text: the canonical form of the golden data.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, MapArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, NaiveDate};

/// The rows of `batch`, one JSON object each, fields in the schema's order and no blanks.
pub(crate) fn lines(batch: &RecordBatch) -> Result<Vec<String>, String> {
    let schema = batch.schema();
    let names: Vec<String> = schema.fields().iter().map(|field| quoted(field.name())).collect();
    let mut columns = Vec::new();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        let in_column = |error: String| format!("column '{}': {error}", field.name());
        columns.push(Column::new(array).map_err(in_column)?);
    }
    let line = |row: usize| {
        let mut text = String::from("{");
        write_fields(&mut text, &names, &columns, row)?;
        text.push('}');
        Ok(text)
    };
    (0..batch.num_rows()).map(line).collect()
}

/// A column, brought to one of few layouts.
enum Column {
    /// Text that stands as it is: numbers, booleans, null.
    Plain(Vec<Option<String>>),
    /// Text in quotes.
    Text(Vec<Option<String>>),
    Struct {
        array: ArrayRef,
        names: Vec<String>,
        fields: Vec<Column>,
    },
    List {
        array: ArrayRef,
        items: Box<Column>,
    },
    Map {
        array: MapArray,
        keys: Box<Column>,
        values: Box<Column>,
    },
}

impl Column {
    fn new(array: &ArrayRef) -> Result<Self, String> {
        let other = || format!("{} has no canonical form", array.data_type());
        let to = |kind: &DataType| cast(array, kind).map_err(|error| error.to_string());
        match array.data_type() {
            DataType::Null => Ok(Self::Plain(vec![None; array.len()])),
            DataType::Boolean => {
                let values = array.as_boolean_opt().ok_or_else(other)?;
                Ok(Self::Plain(values.iter().map(|value| value.map(|v| v.to_string())).collect()))
            }
            kind if kind.is_integer() && *kind != DataType::UInt64 => {
                let array = to(&DataType::Int64)?;
                let values = array.as_primitive_opt::<Int64Type>().ok_or_else(other)?;
                Ok(Self::Plain(values.iter().map(|value| value.map(|v| v.to_string())).collect()))
            }
            DataType::Float32 => {
                let values = array.as_primitive_opt::<Float32Type>().ok_or_else(other)?;
                // The shortest digits are those of the narrow type.
                Ok(Self::Plain(values.iter().map(|v| v.map(|v| number(v.into(), &format!("{v:e}")))).collect()))
            }
            DataType::Float64 => {
                let values = array.as_primitive_opt::<Float64Type>().ok_or_else(other)?;
                Ok(Self::Plain(values.iter().map(|v| v.map(|v| number(v, &format!("{v:e}")))).collect()))
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let array = to(&DataType::LargeUtf8)?;
                let values = array.as_string_opt::<i64>().ok_or_else(other)?;
                Ok(Self::Text(values.iter().map(|value| value.map(str::to_owned)).collect()))
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                let array = to(&DataType::LargeBinary)?;
                let values = array.as_binary_opt::<i64>().ok_or_else(other)?;
                Ok(Self::Text(values.iter().map(|value| value.map(hex)).collect()))
            }
            DataType::Date32 => {
                let values = array.as_primitive_opt::<Date32Type>().ok_or_else(other)?;
                Ok(Self::Text(values.iter().map(|value| value.map(date)).collect()))
            }
            DataType::Timestamp(_, zone) => {
                let array = to(&DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                let values = array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(other)?;
                let end = if zone.is_some() { "Z" } else { "" };
                Ok(Self::Text(values.iter().map(|value| value.map(|v| timestamp(v, end))).collect()))
            }
            DataType::Decimal128(_, _) => {
                let values = array.as_primitive_opt::<Decimal128Type>().ok_or_else(other)?;
                let text = |row: usize| values.is_valid(row).then(|| values.value_as_string(row));
                Ok(Self::Text((0..values.len()).map(text).collect()))
            }
            DataType::Struct(fields) => {
                let values = array.as_struct_opt().ok_or_else(other)?;
                let columns: Result<_, _> = values.columns().iter().map(Self::new).collect();
                let names = fields.iter().map(|field| quoted(field.name())).collect();
                Ok(Self::Struct { array: array.clone(), names, fields: columns? })
            }
            DataType::List(_) => {
                let values = array.as_list_opt::<i32>().ok_or_else(other)?.values();
                Ok(Self::List { array: array.clone(), items: Box::new(Self::new(values)?) })
            }
            DataType::LargeList(item) | DataType::ListView(item) | DataType::FixedSizeList(item, _) => {
                Self::new(&to(&DataType::List(item.clone()))?)
            }
            DataType::Dictionary(_, value) => Self::new(&to(value)?),
            DataType::Map(_, _) => {
                let map = array.as_map_opt().ok_or_else(other)?;
                let (keys, values) = (Self::new(map.keys())?, Self::new(map.values())?);
                Ok(Self::Map { array: map.clone(), keys: Box::new(keys), values: Box::new(values) })
            }
            _ => Err(other()),
        }
    }

    fn write(&self, out: &mut String, row: usize) -> Result<(), String> {
        let beyond = || format!("row {row} is beyond the column's end");
        match self {
            Self::Plain(values) => out.push_str(values.get(row).ok_or_else(beyond)?.as_deref().unwrap_or("null")),
            Self::Text(values) => match values.get(row).ok_or_else(beyond)? {
                Some(text) => out.push_str(&quoted(text)),
                None => out.push_str("null"),
            },
            Self::Struct { array, names, fields } => {
                if array.is_null(row) {
                    out.push_str("null");
                } else {
                    out.push('{');
                    write_fields(out, names, fields, row)?;
                    out.push('}');
                }
            }
            Self::List { array, items } => {
                let Some(list) = array.as_list_opt::<i32>().filter(|list| list.is_valid(row)) else {
                    out.push_str("null");
                    return Ok(());
                };
                out.push('[');
                for (i, item) in span(list.value_offsets(), row).enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    items.write(out, item)?;
                }
                out.push(']');
            }
            Self::Map { array, keys, values } => {
                if array.is_null(row) {
                    out.push_str("null");
                    return Ok(());
                }
                let mut entries = Vec::new();
                for entry in span(array.value_offsets(), row) {
                    let (mut key, mut value) = (String::new(), String::new());
                    keys.write(&mut key, entry)?;
                    values.write(&mut value, entry)?;
                    // The keys of a JSON object are text, whatever the map's are.
                    let key = if key.starts_with('"') { key } else { quoted(&key) };
                    entries.push(format!("{key}:{value}"));
                }
                entries.sort();
                let _ = write!(out, "{{{}}}", entries.join(","));
            }
        }
        Ok(())
    }
}

fn write_fields(out: &mut String, names: &[String], fields: &[Column], row: usize) -> Result<(), String> {
    for (i, (name, field)) in names.iter().zip(fields).enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(name);
        out.push(':');
        field.write(out, row)?;
    }
    Ok(())
}

/// The items of list `row`.
fn span(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let at = |i: usize| offsets.get(i).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
    at(row)..at(row + 1)
}

/// Text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A number as Python's `repr` writes it, from its shortest digits in Rust's exponent form.
fn number(value: f64, shortest: &str) -> String {
    if value.is_nan() {
        return "\"NaN\"".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }.to_owned();
    }
    let (sign, unsigned) = shortest.strip_prefix('-').map_or(("", shortest), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if !(-4..16).contains(&exponent) {
        let mark = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{mark}{:02}", exponent.unsigned_abs());
    }
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(0);
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(places - 1));
    }
    let whole: String = digits.chars().chain(std::iter::repeat('0')).take(places + 1).collect();
    let rest: String = digits.chars().skip(places + 1).collect();
    format!("{sign}{whole}.{}", if rest.is_empty() { "0" } else { &rest })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn date(days: i32) -> String {
    NaiveDate::from_epoch_days(days).map_or_else(|| format!("day {days}"), |date| date.format("%Y-%m-%d").to_string())
}

fn timestamp(micros: i64, end: &str) -> String {
    DateTime::from_timestamp_micros(micros).map_or_else(
        || format!("microsecond {micros}"),
        |time| format!("{}{end}", time.format("%Y-%m-%dT%H:%M:%S%.6f")),
    )
}

#[cfg(test)]
mod tests;
