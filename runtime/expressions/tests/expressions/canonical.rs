//! Values in the form in which Spark's answers were recorded.

use std::io::Cursor;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};
use arrow::json::ReaderBuilder;
use serde_json::{Value, json};

/// Rows that are written as JSON, one a line.
pub(crate) fn rows(schema: &SchemaRef, json: &str) -> RecordBatch {
    let mut reader = ReaderBuilder::new(schema.clone()).build(Cursor::new(json)).unwrap();
    reader.next().unwrap().unwrap()
}

/// The type as Spark's `simpleString`.
pub(crate) fn type_name(ty: &DataType) -> String {
    match ty {
        DataType::Duration(_) | DataType::Interval(_) => "interval".into(),
        other => levada_formats::ddl::type_name(other),
    }
}

fn float(value: f64) -> Value {
    match value {
        v if v.is_nan() => json!("NaN"),
        v if v.is_infinite() => json!(if v > 0.0 { "Infinity" } else { "-Infinity" }),
        v => json!(v),
    }
}

/// One value.
pub(crate) fn canonical(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => json!(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => json!(array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Binary => {
            json!(array.as_binary::<i32>().value(row).iter().map(|b| format!("{b:02x}")).collect::<String>())
        }
        DataType::Date32 => json!(array.as_primitive::<Date32Type>().value_as_date(row).map(|date| date.to_string())),
        DataType::Timestamp(_, _) => {
            // Outside the calendar there is only the number.
            let times = array.as_primitive::<TimestampMicrosecondType>();
            match times.value_as_datetime(row) {
                Some(time) => json!(time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string()),
                None => json!(times.value(row)),
            }
        }
        DataType::Duration(_) => json!(array.as_primitive::<DurationMicrosecondType>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|item| canonical(&items, item)).collect())
        }
        DataType::Struct(_) => {
            Value::Array(array.as_struct().columns().iter().map(|column| canonical(column, row)).collect())
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let mut pairs: Vec<_> = (0..entries.len())
                .map(|at| json!([canonical(entries.column(0), at), canonical(entries.column(1), at)]))
                .collect();
            pairs.sort_by_key(|pair| pair[0].as_str().map_or_else(|| pair[0].to_string(), str::to_owned));
            Value::Array(pairs)
        }
        other => json!(format!("a value of {other}")),
    }
}

/// Whether two values are equal; doubles may differ in their last digits.
pub(crate) fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
        }
        (a, b) => a == b,
    }
}
