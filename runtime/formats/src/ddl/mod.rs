//! Schemas in Spark's DDL: `name STRING NOT NULL, p STRUCT<x: DOUBLE, tags: ARRAY<STRING>>`.

mod parse;
mod print;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

pub use parse::{parse_schema, parse_type};
pub use print::{to_ddl, type_name};

/// The key of a field's metadata that holds its COMMENT.
pub const COMMENT: &str = "comment";

/// The Arrow type of TIMESTAMP: microseconds in UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}

/// The Arrow type of ARRAY.
pub fn array_type(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

/// The Arrow type of MAP: keys are never null, values may be.
pub fn map_type(key: DataType, value: DataType) -> DataType {
    let entries = vec![Field::new("key", key, false), Field::new("value", value, true)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)), false)
}

#[cfg(test)]
mod tests;
