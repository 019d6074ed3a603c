//! Rows of any columns, made up.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::json::ReaderBuilder;
use levada_connector_api::{Error, Result};
use levada_formats::ddl::parse_schema;
use serde_json::{Map, Value, json};

/// Makes rows of some columns.
pub(super) struct Rows(SchemaRef);

impl Rows {
    /// Rows of the columns that `ddl` tells.
    ///
    /// # Errors
    /// It is no DDL, or has a type of which no rows can be made.
    pub(super) fn new(ddl: &str) -> Result<Self> {
        let schema = parse_schema(ddl).map_err(|e| e.context("--columns"))?;
        let rows = Self(SchemaRef::new(schema));
        rows.make(0, 1)?;
        Ok(rows)
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    /// `n` rows: the same seed gives the same ones.
    pub(super) fn some(&self, seed: u64, n: u64) -> RecordBatch {
        // What could be made once can be made again.
        self.make(seed, n).unwrap_or_else(|_| RecordBatch::new_empty(self.0.clone()))
    }

    fn make(&self, seed: u64, n: u64) -> Result<RecordBatch> {
        let row = |i: u64| {
            let field = |(place, field): (usize, &std::sync::Arc<arrow::datatypes::Field>)| {
                let null = field.is_nullable() && (i + place as u64).is_multiple_of(5);
                let value = if null { Value::Null } else { value(field.data_type(), i) };
                (field.name().clone(), value)
            };
            Value::Object(self.0.fields().iter().enumerate().map(field).collect::<Map<_, _>>())
        };
        let rows: Vec<_> = (seed * 1000..seed * 1000 + n).map(row).collect();
        let mut decoder = ReaderBuilder::new(self.0.clone()).with_batch_size(rows.len()).build_decoder()?;
        decoder.serialize(&rows)?;
        decoder.flush()?.ok_or_else(|| Error::config("rows of these columns cannot be made up"))
    }
}

fn value(kind: &DataType, i: u64) -> Value {
    match kind {
        DataType::Boolean => json!(i.is_multiple_of(2)),
        DataType::Int8 | DataType::UInt8 => json!(i % 100),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => json!(i as f64 / 4.0),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!(format!("text {i}")),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => json!(format!("{i:04x}")),
        DataType::Date32 | DataType::Date64 => json!(format!("2024-01-{:02}", 1 + i % 28)),
        DataType::Timestamp(..) => json!(format!("2024-01-01T00:{:02}:{:02}Z", i / 60 % 60, i % 60)),
        DataType::Decimal128(..) | DataType::Decimal256(..) => json!(format!("{}", i % 10)),
        DataType::List(item) | DataType::LargeList(item) => json!([value(item.data_type(), i)]),
        DataType::Struct(fields) => {
            fields.iter().map(|field| (field.name().clone(), value(field.data_type(), i))).collect()
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let item = pair.last().map_or(Value::Null, |field| value(field.data_type(), i));
                json!({ "key": item })
            }
            _ => Value::Null,
        },
        _ => json!(i % 30_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_columns_are_made_up() {
        let ddl = "a BIGINT NOT NULL, b STRING, c DOUBLE, d BOOLEAN, e TIMESTAMP, f DATE, g DECIMAL(10,2), h BINARY, \
                   i ARRAY<INT>, j STRUCT<x: INT, y: STRING>, k MAP<STRING, INT>, l TINYINT";
        let rows = Rows::new(ddl).unwrap();
        let some = rows.some(3, 20);
        assert_eq!((some.num_rows(), some.schema()), (20, rows.schema()));
        assert_eq!(some, rows.some(3, 20));
        assert_ne!(some, rows.some(4, 20));
        assert!(some.columns().iter().skip(1).all(|column| column.null_count() > 0 && column.null_count() < 20));
        assert!(Rows::new("a NONSENSE").is_err());
    }
}
