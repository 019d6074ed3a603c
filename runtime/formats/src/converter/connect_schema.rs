//! The schemas that Connect's JSON carries, in both directions.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, Fields, Int32Type, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use levada_connector_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::envelope::unscaled_column;

const NAMES: &str = "org.apache.kafka.connect.data.";
/// What Debezium calls times that Connect's own names do not hold.
const DEBEZIUM: &str = "io.debezium.time.";

/// How times are written beside Connect's schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectTimes {
    /// As Connect's `Timestamp`: what is finer than a millisecond is cut off.
    #[default]
    Millis,
    /// As Debezium's `MicroTimestamp`.
    Micros,
}

/// What Connect means by a number or bytes, beyond their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logical {
    None,
    /// So many units since 1970.
    Timestamp(TimeUnit),
    /// Days since 1970.
    Date,
    /// An unscaled number as bytes.
    Decimal {
        scale: i8,
    },
}

impl Logical {
    /// How the payload is decoded.
    pub(super) fn wire(self) -> DataType {
        match self {
            Self::None => DataType::Utf8,
            Self::Timestamp(_) => DataType::Int64,
            Self::Date => DataType::Int32,
            Self::Decimal { .. } => DataType::Binary,
        }
    }

    /// The field as it is without further wishes.
    pub(super) fn field(self, field: &Field) -> Field {
        match self {
            Self::None => field.clone(),
            Self::Timestamp(_) => {
                field.clone().with_data_type(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
            }
            Self::Date => field.clone().with_data_type(DataType::Date32),
            Self::Decimal { scale } => field.clone().with_data_type(DataType::Decimal128(38, scale)),
        }
    }

    /// What was decoded, as the column that is wanted.
    pub(super) fn read(self, column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
        let array: ArrayRef = match self {
            Self::None => return Ok(column.clone()),
            // A whole number that is wanted as such stays one.
            _ if field.data_type() == column.data_type() => return Ok(column.clone()),
            Self::Timestamp(unit) => cast(column, &DataType::Timestamp(unit, Some("UTC".into())))?,
            Self::Date => Arc::new(column.as_primitive::<Int32Type>().reinterpret_cast::<Date32Type>()),
            Self::Decimal { scale } => {
                let numbers: Decimal128Array = unscaled_column(column).collect();
                Arc::new(numbers.with_precision_and_scale(38, scale)?)
            }
        };
        cast(&array, field.data_type())
            .map_err(|e| Error::config(format!("column '{}': {e}", field.name())).hint("change value.converter.schema"))
    }
}

/// A field of a struct's schema.
pub(super) struct Told {
    pub(super) field: Field,
    pub(super) logical: Logical,
    /// What it has where a payload has nothing or null, as it would stand in the payload.
    pub(super) default: Option<Value>,
}

/// The fields of a struct's schema.
pub(super) fn fields_of(schema: &str) -> Result<Vec<Told>, String> {
    let value: Value = serde_json::from_str(schema).map_err(|e| format!("the schema: {e}"))?;
    match value.get("type").and_then(Value::as_str) {
        Some("struct") => fields(&value),
        other => Err(format!("the schema is of type {}, not struct", other.unwrap_or("null"))),
    }
}

fn fields(schema: &Value) -> Result<Vec<Told>, String> {
    let list = schema.get("fields").and_then(Value::as_array).ok_or("the schema is a struct without fields")?;
    list.iter()
        .map(|field| {
            let name = field.get("field").and_then(Value::as_str).ok_or("the schema has a field without a name")?;
            let (data_type, logical) = data_type(field).map_err(|e| format!("field '{name}' of the schema: {e}"))?;
            let default = field.get("default").filter(|default| !default.is_null()).cloned();
            Ok(Told { field: Field::new(name, data_type, optional(field)), logical, default })
        })
        .collect()
}

fn optional(schema: &Value) -> bool {
    schema.get("optional").and_then(Value::as_bool).unwrap_or(false)
}

fn data_type(schema: &Value) -> Result<(DataType, Logical), String> {
    let kind = schema.get("type").and_then(Value::as_str).ok_or("no type")?;
    let full = schema.get("name").and_then(Value::as_str);
    let name = full.and_then(|name| name.strip_prefix(NAMES).or_else(|| name.strip_prefix(DEBEZIUM)));
    let inner = |key: &str| -> Result<DataType, String> {
        Ok(data_type(schema.get(key).ok_or_else(|| format!("{kind} without {key}"))?)?.0)
    };
    let plain = match kind {
        "boolean" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "string" => DataType::Utf8,
        "bytes" => DataType::Binary,
        "array" => DataType::List(Arc::new(Field::new_list_field(inner("items")?, true))),
        "map" => {
            let keys = schema.pointer("/keys/type").and_then(Value::as_str).unwrap_or("string");
            if keys != "string" {
                return Err(format!("a map with keys of type {keys}: only those with text are read"));
            }
            let entries = vec![Field::new("key", DataType::Utf8, false), Field::new("value", inner("values")?, true)];
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)), false)
        }
        "struct" => {
            let fields: Vec<Field> = fields(schema)?.into_iter().map(|told| told.field).collect();
            DataType::Struct(fields.into())
        }
        other => return Err(format!("type '{other}' is none of Connect's")),
    };
    let logical = match (name, kind) {
        (Some("Timestamp"), "int64") => Logical::Timestamp(TimeUnit::Millisecond),
        (Some("MicroTimestamp"), "int64") => Logical::Timestamp(TimeUnit::Microsecond),
        (Some("NanoTimestamp"), "int64") => Logical::Timestamp(TimeUnit::Nanosecond),
        (Some("Date"), "int32") => Logical::Date,
        (Some("Decimal"), "bytes") => {
            let scale = schema.pointer("/parameters/scale").and_then(Value::as_str).and_then(|s| s.parse().ok());
            Logical::Decimal { scale: scale.ok_or("a Decimal without its scale")? }
        }
        _ => Logical::None,
    };
    Ok((plain, logical))
}

/// Connect's schema of columns, as it stands in each message.
///
/// # Errors
/// A column's type has no form in it.
pub fn to_connect_schema(fields: &Fields, times: ConnectTimes) -> Result<Value> {
    struct_schema(fields, Some(times)).map_err(|e| Error::config(format!("{e}; convert the column before the sink")))
}

/// `top`: the fields are columns, in which what has a logical type may stand.
fn struct_schema(fields: &Fields, top: Option<ConnectTimes>) -> Result<Value, String> {
    let field = |field: &Arc<Field>| {
        let mut schema = type_schema(field.data_type(), top).map_err(|e| format!("column '{}': {e}", field.name()))?;
        schema.insert("optional".to_owned(), field.is_nullable().into());
        schema.insert("field".to_owned(), field.name().as_str().into());
        Ok::<_, String>(Value::Object(schema))
    };
    let list: Result<Vec<Value>, String> = fields.iter().map(field).collect();
    Ok(json!({"type": "struct", "fields": list?, "optional": false}))
}

fn type_schema(data_type: &DataType, top: Option<ConnectTimes>) -> Result<Map<String, Value>, String> {
    let (times, top) = (top.unwrap_or_default(), top.is_some());
    let logical = |kind: &str, name: &str| json!({"type": kind, "name": format!("{NAMES}{name}"), "version": 1});
    let element = |field: &Field| -> Result<Value, String> {
        let mut schema = type_schema(field.data_type(), None)?;
        schema.insert("optional".to_owned(), field.is_nullable().into());
        Ok(Value::Object(schema))
    };
    let value = match data_type {
        DataType::Boolean => json!({"type": "boolean"}),
        DataType::Int8 => json!({"type": "int8"}),
        DataType::Int16 | DataType::UInt8 => json!({"type": "int16"}),
        DataType::Int32 | DataType::UInt16 => json!({"type": "int32"}),
        DataType::Int64 | DataType::UInt32 => json!({"type": "int64"}),
        DataType::Float32 => json!({"type": "float"}),
        DataType::Float64 => json!({"type": "double"}),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!({"type": "string"}),
        DataType::Binary if top => json!({"type": "bytes"}),
        DataType::Timestamp(..) if top && times == ConnectTimes::Micros => {
            json!({"type": "int64", "name": format!("{DEBEZIUM}MicroTimestamp"), "version": 1})
        }
        DataType::Timestamp(..) if top => logical("int64", "Timestamp"),
        DataType::Date32 if top => logical("int32", "Date"),
        DataType::Decimal128(precision, scale) if top => {
            let mut schema = logical("bytes", "Decimal");
            let parameters = json!({"scale": scale.to_string(), "connect.decimal.precision": precision.to_string()});
            schema.as_object_mut().map(|schema| schema.insert("parameters".to_owned(), parameters));
            schema
        }
        DataType::List(item) => json!({"type": "array", "items": element(item)?}),
        DataType::Struct(fields) => struct_schema(fields, None)?,
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(entry) => match entry.as_ref() {
                // Other keys would be pairs in an array.
                [key, value]
                    if matches!(key.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) =>
                {
                    json!({"type": "map", "keys": {"type": "string", "optional": false}, "values": element(value)?})
                }
                _ => return Err("a map has no form here unless its keys are text".to_owned()),
            },
            other => return Err(format!("a map of {other}")),
        },
        other => {
            let place = if top { "" } else { " inside another type" };
            return Err(format!("Connect's JSON has no form for {other}{place}"));
        }
    };
    match value {
        Value::Object(map) => Ok(map),
        _ => Err("no schema".to_owned()),
    }
}

/// A column as its values stand in the payload.
///
/// # Errors
/// The conversion fails: a time out of range.
pub fn to_connect_values(column: &ArrayRef, times: ConnectTimes) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Timestamp(..) => {
            let unit = match times {
                ConnectTimes::Millis => TimeUnit::Millisecond,
                ConnectTimes::Micros => TimeUnit::Microsecond,
            };
            // Without a zone it is taken for UTC, as Connect does.
            cast(&cast(column, &DataType::Timestamp(unit, None))?, &DataType::Int64)?
        }
        DataType::Date32 => Arc::new(column.as_primitive::<Date32Type>().reinterpret_cast::<Int32Type>()),
        DataType::Decimal128(..) => {
            let values: Vec<_> =
                column.as_primitive::<Decimal128Type>().iter().map(|v| v.map(i128::to_be_bytes)).collect();
            // Java leaves out the bytes that only repeat the sign.
            let bytes = values
                .iter()
                .map(|v| v.as_ref().map(|v| v.get(sign_bytes(i128::from_be_bytes(*v))..).unwrap_or_default()));
            base64_texts(bytes)
        }
        DataType::Binary => base64_column(column),
        _ => column.clone(),
    })
}

/// A binary column as text in base 64.
pub fn base64_column(column: &ArrayRef) -> ArrayRef {
    base64_texts(column.as_binary::<i32>().iter())
}

fn base64_texts<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    let mut texts = StringBuilder::new();
    let mut text = String::new();
    for value in values {
        texts.append_option(value.map(|bytes| {
            text.clear();
            STANDARD.encode_string(bytes, &mut text);
            text.as_str()
        }));
    }
    Arc::new(texts.finish())
}

/// How many leading bytes of a number only repeat its sign.
fn sign_bytes(value: i128) -> usize {
    let spare = if value < 0 { value.leading_ones() } else { value.leading_zeros() };
    // One bit for the sign must stay.
    (spare.saturating_sub(1) / 8) as usize
}
