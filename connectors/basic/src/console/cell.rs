//! One value as Spark's `show` prints it.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray, MapArray, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use levada_connector_api::Result;
use levada_connector_api::json::write_interval;

use levada_formats::scalar;

/// What stands for a value that is not there, since Spark 3.4.
const NULL: &str = "NULL";

/// The cell of row `row` of `array`, whole.
///
/// # Errors
/// The column's type cannot be shown.
pub(super) fn cell(array: &dyn Array, row: usize) -> Result<String> {
    let mut out = String::new();
    append(&mut out, array, row)?;
    Ok(out)
}

fn append(out: &mut String, array: &dyn Array, row: usize) -> Result<()> {
    if array.is_null(row) {
        out.push_str(NULL);
        return Ok(());
    }
    match array.data_type() {
        DataType::Null => out.push_str(NULL),
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => out.push_str(array.as_string::<i64>().value(row)),
        DataType::Utf8View => out.push_str(array.as_string_view().value(row)),
        DataType::Binary => hex(out, array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hex(out, array.as_binary::<i64>().value(row)),
        DataType::BinaryView => hex(out, array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => hex(out, array.as_fixed_size_binary().value(row)),
        DataType::Float64 => out.push_str(&scalar::format_double(array.as_primitive::<Float64Type>().value(row))),
        DataType::Float32 => out.push_str(&scalar::format_float(array.as_primitive::<Float32Type>().value(row))),
        DataType::Duration(TimeUnit::Microsecond) => {
            write_interval(out, array.as_primitive::<DurationMicrosecondType>().value(row));
        }
        DataType::Date32 => out.push_str(&scalar::format_date(array.as_primitive::<Date32Type>().value(row))),
        DataType::Date64 => {
            let days = array.as_primitive::<Date64Type>().value(row).div_euclid(86_400_000);
            out.push_str(&scalar::format_date(i32::try_from(days).unwrap_or(i32::MAX)));
        }
        DataType::Timestamp(unit, _) => out.push_str(&scalar::format_timestamp(micros(array, *unit, row))),
        DataType::Decimal128(_, scale) => {
            out.push_str(&scalar::format_decimal(array.as_primitive::<Decimal128Type>().value(row), *scale));
        }
        DataType::Struct(_) => structure(out, array.as_struct(), row)?,
        DataType::List(_) => list(out, array.as_list::<i32>().value(row).as_ref())?,
        DataType::LargeList(_) => list(out, array.as_list::<i64>().value(row).as_ref())?,
        DataType::FixedSizeList(..) => list(out, array.as_fixed_size_list().value(row).as_ref())?,
        DataType::Map(..) => map(out, array.as_map(), row)?,
        DataType::Dictionary(..) => {
            let keys = array.as_any_dictionary();
            let key = keys.normalized_keys().get(row).copied().unwrap_or(0);
            append(out, keys.values().as_ref(), key)?;
        }
        // Whole numbers and booleans are written alike everywhere; what is left has no counterpart in Spark.
        _ => {
            let options = FormatOptions::default().with_null(NULL);
            let _ = write!(out, "{}", ArrayFormatter::try_new(array, &options)?.value(row));
        }
    }
    Ok(())
}

fn hex(out: &mut String, bytes: &[u8]) {
    out.push('[');
    for (i, byte) in bytes.iter().enumerate() {
        let _ = write!(out, "{}{byte:02X}", if i > 0 { " " } else { "" });
    }
    out.push(']');
}

fn micros(array: &dyn Array, unit: TimeUnit, row: usize) -> i64 {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row).saturating_mul(1_000_000),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row).saturating_mul(1000),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1000),
    }
}

fn structure(out: &mut String, array: &StructArray, row: usize) -> Result<()> {
    out.push('{');
    for (i, column) in array.columns().iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        append(out, column.as_ref(), row)?;
    }
    out.push('}');
    Ok(())
}

fn list(out: &mut String, values: &dyn Array) -> Result<()> {
    out.push('[');
    for i in 0..values.len() {
        if i > 0 {
            out.push_str(", ");
        }
        append(out, values, i)?;
    }
    out.push(']');
    Ok(())
}

fn map(out: &mut String, array: &MapArray, row: usize) -> Result<()> {
    let entries = array.value(row);
    out.push('{');
    for i in 0..entries.len() {
        if i > 0 {
            out.push_str(", ");
        }
        append(out, entries.column(0).as_ref(), i)?;
        out.push_str(" -> ");
        append(out, entries.column(1).as_ref(), i)?;
    }
    out.push('}');
    Ok(())
}
