//! Spark's types in Arrow's terms.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

pub(crate) use levada_formats::ddl::{array_type as list, map_type as map, timestamp_type as timestamp};

/// A day-time interval.
pub(crate) fn duration() -> DataType {
    DataType::Duration(TimeUnit::Microsecond)
}

/// The field of the items of an array.
pub(crate) fn list_field(item: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(item, true))
}

/// The types of a map's keys and values.
pub(crate) fn map_parts(ty: &DataType) -> Option<(&FieldRef, &FieldRef)> {
    match ty {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => match &**fields {
                [key, value] => Some((key, value)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The type's name in Spark's messages: `STRING`, `DECIMAL(10,2)`, `ARRAY<INT>`.
pub(crate) fn sql_name(ty: &DataType) -> String {
    match ty {
        DataType::Null => "VOID".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 => "STRING".into(),
        DataType::Binary => "BINARY".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".into(),
        DataType::Duration(_) => "INTERVAL DAY TO SECOND".into(),
        DataType::Interval(_) => "INTERVAL YEAR TO MONTH".into(),
        DataType::List(item) => format!("ARRAY<{}>", sql_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{}: {}", f.name(), sql_name(f.data_type()))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        DataType::Map(_, _) => match map_parts(ty) {
            Some((key, value)) => format!("MAP<{}, {}>", sql_name(key.data_type()), sql_name(value.data_type())),
            None => "MAP".into(),
        },
        other => other.to_string().to_uppercase(),
    }
}
