//! Columns of Arrow as values of SQLite.

use levada_plugin::api::{Error, Result};
use levada_plugin::arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use levada_plugin::arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use levada_plugin::arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Transaction, params_from_iter};

/// A name as SQL has it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What SQLite keeps of a type: its own four, and text for what has none of them.
fn kept(kind: &DataType) -> (DataType, &'static str) {
    match kind {
        DataType::Boolean => (DataType::Int64, "INTEGER"),
        kind if kind.is_integer() => (DataType::Int64, "INTEGER"),
        kind if kind.is_floating() => (DataType::Float64, "REAL"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => (DataType::Binary, "BLOB"),
        _ => (DataType::Utf8, "TEXT"),
    }
}

/// The statement that makes a table for rows of `schema`.
///
/// # Errors
/// A column has a type that SQLite cannot keep.
pub(crate) fn create(table: &str, schema: &Schema) -> Result<String> {
    let mut columns = Vec::new();
    for field in schema.fields() {
        let (as_kept, sql) = kept(field.data_type());
        if !can_cast_types(field.data_type(), &as_kept) || field.data_type().is_nested() {
            return Err(Error::config(format!(
                "column '{}' is of type {}, which SQLite cannot keep",
                field.name(),
                field.data_type()
            ))
            .hint("take the column apart with a Select before the sink"));
        }
        let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
        columns.push(format!("{} {sql}{not_null}", quoted(field.name())));
    }
    Ok(format!("CREATE TABLE IF NOT EXISTS {} ({})", quoted(table), columns.join(", ")))
}

fn value(column: &ArrayRef, row: usize) -> ToSqlOutput<'_> {
    if column.is_null(row) {
        return ToSqlOutput::Borrowed(ValueRef::Null);
    }
    ToSqlOutput::Borrowed(match column.data_type() {
        DataType::Int64 => ValueRef::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => ValueRef::Real(column.as_primitive::<Float64Type>().value(row)),
        DataType::Binary => ValueRef::Blob(column.as_binary::<i32>().value(row)),
        _ => ValueRef::Text(column.as_string::<i32>().value(row).as_bytes()),
    })
}

/// What can go wrong while rows are inserted.
pub(crate) enum Failed {
    /// SQLite refuses.
    Sql(rusqlite::Error),
    /// A value does not fit.
    Row(Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Inserts rows, by the names of their columns.
pub(crate) fn insert(transaction: &Transaction<'_>, table: &str, rows: &RecordBatch) -> Result<(), Failed> {
    let schema = rows.schema();
    let names: Vec<_> = schema.fields().iter().map(|field| quoted(field.name())).collect();
    let places: Vec<_> = (1..=names.len()).map(|i| format!("?{i}")).collect();
    let sql = format!("INSERT INTO {} ({}) VALUES ({})", quoted(table), names.join(", "), places.join(", "));
    // A value that does not fit must not become null.
    let exactly = CastOptions { safe: false, ..CastOptions::default() };
    let mut columns = Vec::with_capacity(names.len());
    for column in rows.columns() {
        let (kind, _) = kept(column.data_type());
        columns.push(cast_with_options(column, &kind, &exactly).map_err(|e| Failed::Row(Error::data(e.to_string())))?);
    }
    let mut statement = transaction.prepare(&sql)?;
    for row in 0..rows.num_rows() {
        statement.execute(params_from_iter(columns.iter().map(|column| value(column, row))))?;
    }
    Ok(())
}
