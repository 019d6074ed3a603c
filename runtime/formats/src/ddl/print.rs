//! Types and schemas as text.

use arrow::datatypes::{DataType, Schema, TimeUnit};

use super::COMMENT;

/// A type's Spark name: `struct<x:double,tags:array<string>>`. Types that Spark lacks keep their Arrow names.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "void".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamp".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp_ntz".to_owned(),
        DataType::Duration(TimeUnit::Microsecond) => "interval day to second".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::List(item) | DataType::LargeList(item) => format!("array<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|f| format!("{}:{}", quoted(f.name()), type_name(f.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let types: Vec<_> = pair.iter().map(|f| type_name(f.data_type())).collect();
                format!("map<{}>", types.join(","))
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// A schema as DDL that [`parse_schema`](super::parse_schema) reads back: `name STRING NOT NULL, age INT`.
pub fn to_ddl(schema: &Schema) -> String {
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| {
            let mut column = format!("{} {}", quoted(field.name()), upper(field.data_type()));
            if !field.is_nullable() {
                column.push_str(" NOT NULL");
            }
            if let Some(comment) = field.metadata().get(COMMENT) {
                column.push_str(&format!(" COMMENT '{}'", comment.replace('\\', r"\\").replace('\'', r"\'")));
            }
            column
        })
        .collect();
    columns.join(", ")
}

fn upper(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|f| {
                    let not_null = if f.is_nullable() { "" } else { " NOT NULL" };
                    format!("{}: {}{not_null}", quoted(f.name()), upper(f.data_type()))
                })
                .collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        DataType::List(item) => format!("ARRAY<{}>", upper(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let types: Vec<_> = pair.iter().map(|f| upper(f.data_type())).collect();
                format!("MAP<{}>", types.join(", "))
            }
            other => other.to_string(),
        },
        other => type_name(other).to_ascii_uppercase(),
    }
}

/// A name as it must stand in DDL, in backticks where needed.
fn quoted(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if bare { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}
