//! Casts from and to strings.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, PrimitiveArray, StringArray, StringBuilder};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion_common::{DataFusionError, Result, exec_err};
use levada_connector_api::json::write_interval;
use levada_formats::scalar;

use super::{Mode, cast_array, invalid_input, out_of_precision, zoned};

/// Reads a column of text.
pub(crate) fn from_text(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let text = array.as_string::<i32>();
    let ansi = mode != Mode::Legacy;
    match to {
        DataType::Int8 => read::<Int8Type>(text, to, mode, |t| i8::try_from(scalar::parse_long(t, ansi)?).ok()),
        DataType::Int16 => read::<Int16Type>(text, to, mode, |t| i16::try_from(scalar::parse_long(t, ansi)?).ok()),
        DataType::Int32 => read::<Int32Type>(text, to, mode, |t| i32::try_from(scalar::parse_long(t, ansi)?).ok()),
        DataType::Int64 => read::<Int64Type>(text, to, mode, |t| scalar::parse_long(t, ansi)),
        DataType::Float32 => read::<Float32Type>(text, to, mode, scalar::parse_float),
        DataType::Float64 => read::<Float64Type>(text, to, mode, scalar::parse_double),
        DataType::Date32 => read::<Date32Type>(text, to, mode, scalar::parse_date),
        // What has no zone takes the time as it is written, whatever zone stands behind it.
        DataType::Timestamp(_, None) => {
            read::<TimestampMicrosecondType>(text, to, mode, |text| scalar::parse_timestamp_ntz(text, true))
        }
        DataType::Timestamp(_, _) => read::<TimestampMicrosecondType>(text, to, mode, scalar::parse_timestamp),
        DataType::Decimal128(precision, scale) => decimals(text, *precision, *scale, to, mode),
        DataType::Boolean => {
            let values = text.iter().map(|value| match value.map(|t| (t, scalar::parse_boolean(t))) {
                Some((t, None)) if mode == Mode::Ansi => Err(invalid_input(t, &DataType::Utf8, to)),
                Some((_, value)) => Ok(value),
                None => Ok(None),
            });
            Ok(Arc::new(values.collect::<Result<BooleanArray>>()?))
        }
        DataType::Binary => Ok(Arc::new(text.iter().map(|v| v.map(str::as_bytes)).collect::<BinaryArray>())),
        other => exec_err!("no cast from string to {other}"),
    }
}

fn read<T: ArrowPrimitiveType>(
    text: &StringArray,
    to: &DataType,
    mode: Mode,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> Result<ArrayRef> {
    let values = text.iter().map(|value| match value.map(|t| (t, parse(t))) {
        Some((t, None)) if mode == Mode::Ansi => Err(invalid_input(t, &DataType::Utf8, to)),
        Some((_, value)) => Ok(value),
        None => Ok(None),
    });
    Ok(Arc::new(values.collect::<Result<PrimitiveArray<T>>>()?.with_data_type(to.clone())))
}

fn decimals(text: &StringArray, precision: u8, scale: i8, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let failed = |t: &str| -> DataFusionError {
        // A number that is only too large has another error than what is no number.
        if scalar::parse_double(t).is_some_and(f64::is_finite) {
            out_of_precision(t, precision, scale)
        } else {
            invalid_input(t, &DataType::Utf8, to)
        }
    };
    let values = text.iter().map(|value| match value.map(|t| (t, scalar::parse_decimal(t, precision, scale))) {
        Some((t, None)) if mode == Mode::Ansi => Err(failed(t)),
        Some((_, value)) => Ok(value),
        None => Ok(None),
    });
    let values = values.collect::<Result<PrimitiveArray<Decimal128Type>>>()?;
    Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
}

/// Writes a column as text.
pub(crate) fn to_text(array: &ArrayRef, mode: Mode) -> Result<ArrayRef> {
    let normal = normalized(array)?;
    if let (DataType::Decimal128(_, scale), Mode::Legacy) = (normal.data_type(), mode) {
        let text = normal.as_primitive::<Decimal128Type>().iter().map(|v| v.map(|v| java_decimal(v, *scale)));
        return Ok(Arc::new(text.collect::<StringArray>()));
    }
    let mut out = StringBuilder::with_capacity(array.len(), array.len() * 8);
    for row in 0..normal.len() {
        if normal.is_null(row) {
            out.append_null();
        } else {
            write(&normal, row, &mut out)?;
            out.append_value("");
        }
    }
    Ok(Arc::new(out.finish()))
}

/// A decimal as Java's `BigDecimal.toString` has it: small ones with an exponent.
pub(crate) fn java_decimal(value: i128, scale: i8) -> String {
    let digits = value.unsigned_abs().to_string();
    let exponent = digits.len() as i64 - 1 - i64::from(scale);
    if exponent >= -6 {
        return scalar::format_decimal(value, scale);
    }
    let sign = if value < 0 { "-" } else { "" };
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}E{exponent}")
}

/// One value as text; null is `null`.
pub(crate) fn display(array: &ArrayRef, row: usize) -> Result<String> {
    let normal = normalized(&array.slice(row, 1))?;
    let mut out = String::new();
    if normal.is_null(0) {
        out.push_str("null");
    } else {
        write(&normal, 0, &mut out)?;
    }
    Ok(out)
}

/// Timestamps of other units than microseconds come from foreign schemas only.
fn normalized(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Timestamp(_, _) if !super::is_timestamp(array.data_type()) => cast_array(array, &zoned(), Mode::Ansi),
        _ => Ok(Arc::clone(array)),
    }
}

/// Writes one value that is not null.
fn write(array: &ArrayRef, row: usize, out: &mut impl std::fmt::Write) -> Result<()> {
    macro_rules! number {
        ($type:ty) => {
            write!(out, "{}", array.as_primitive::<$type>().value(row))?
        };
    }
    match array.data_type() {
        DataType::Null => out.write_str("null")?,
        DataType::Utf8 => out.write_str(array.as_string::<i32>().value(row))?,
        DataType::Boolean => write!(out, "{}", array.as_boolean().value(row))?,
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::Float32 => out.write_str(&scalar::format_float(array.as_primitive::<Float32Type>().value(row)))?,
        DataType::Float64 => out.write_str(&scalar::format_double(array.as_primitive::<Float64Type>().value(row)))?,
        DataType::Decimal128(_, scale) => {
            out.write_str(&scalar::format_decimal(array.as_primitive::<Decimal128Type>().value(row), *scale))?;
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            let mut text = String::new();
            write_interval(&mut text, array.as_primitive::<DurationMicrosecondType>().value(row));
            out.write_str(&text)?;
        }
        DataType::Date32 => out.write_str(&scalar::format_date(array.as_primitive::<Date32Type>().value(row)))?,
        DataType::Timestamp(_, _) => {
            out.write_str(&scalar::format_timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)))?;
        }
        DataType::Binary => out.write_str(&String::from_utf8_lossy(array.as_binary::<i32>().value(row)))?,
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            out.write_char('[')?;
            for item in 0..items.len() {
                separate(item, out)?;
                part(&items, item, out)?;
            }
            out.write_char(']')?;
        }
        DataType::Struct(_) => {
            out.write_char('{')?;
            for (index, column) in array.as_struct().columns().iter().enumerate() {
                separate(index, out)?;
                part(column, row, out)?;
            }
            out.write_char('}')?;
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            out.write_char('{')?;
            if let [keys, values] = entries.columns() {
                for entry in 0..entries.len() {
                    separate(entry, out)?;
                    part(keys, entry, out)?;
                    out.write_str(" ->")?;
                    if values.is_valid(entry) {
                        out.write_char(' ')?;
                        part(values, entry, out)?;
                    } else {
                        out.write_str(" null")?;
                    }
                }
            }
            out.write_char('}')?;
        }
        other => return exec_err!("no cast from {other} to string"),
    }
    Ok(())
}

fn separate(index: usize, out: &mut impl std::fmt::Write) -> Result<()> {
    if index > 0 {
        out.write_str(", ")?;
    }
    Ok(())
}

fn part(array: &ArrayRef, row: usize, out: &mut impl std::fmt::Write) -> Result<()> {
    if array.is_null(row) { Ok(out.write_str("null")?) } else { write(array, row, out) }
}
