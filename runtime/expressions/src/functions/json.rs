//! Functions that read and write JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use levada_formats::json::{JsonDecoder, JsonMode, JsonOptions};
use levada_formats::scalar::Pattern;
use levada_formats::{MalformedFields, MalformedRows, ddl};
use serde_json::Value;

use super::Invocation;
use super::types::map_parts;
use super::{json_path, json_write};
use crate::ast::{PlanError, Planned};
use crate::coerce::argument;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &["from_json", "to_json", "get_json_object", "json_array_length", "json_object_keys"];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    match call.name {
        "from_json" => from_json(call),
        "to_json" => to_json(call),
        "get_json_object" => {
            let [text, path] = call.exactly()?;
            let args = [
                argument(text, &DataType::Utf8, call.ansi(), call.name)?,
                argument(path, &DataType::Utf8, call.ansi(), call.name)?,
            ];
            Ok(Typed::call("get_json_object", &args, DataType::Utf8, call.span, |args| {
                let (text, path) = (args.array(0)?, args.array(1)?);
                let mut paths = json_path::Paths::default();
                let rows = text.as_string::<i32>().iter().zip(path.as_string::<i32>());
                let value = rows.map(|(text, path)| json_path::get(text?, paths.get(path?)?));
                Ok(Arc::new(value.collect::<StringArray>()))
            }))
        }
        "json_array_length" => {
            let [text] = call.exactly()?;
            let text = argument(text, &DataType::Utf8, call.ansi(), call.name)?;
            Ok(Typed::call("json_array_length", &[text], DataType::Int32, call.span, |args| {
                let text = args.array(0)?;
                let length = |text: Option<&str>| match serde_json::from_str(text?).ok()? {
                    Value::Array(items) => i32::try_from(items.len()).ok(),
                    _ => None,
                };
                Ok(Arc::new(text.as_string::<i32>().iter().map(length).collect::<arrow::array::Int32Array>()))
            }))
        }
        _ => {
            let [text] = call.exactly()?;
            let text = argument(text, &DataType::Utf8, call.ansi(), call.name)?;
            let ty = super::types::list(DataType::Utf8);
            Ok(Typed::call("json_object_keys", &[text], ty, call.span, |args| {
                let text = args.array(0)?;
                let mut out = arrow::array::ListBuilder::new(StringBuilder::new())
                    .with_field(super::types::list_field(DataType::Utf8));
                for text in text.as_string::<i32>() {
                    match text.and_then(|text| serde_json::from_str(text).ok()) {
                        Some(Value::Object(entries)) => {
                            entries.keys().for_each(|key| out.values().append_value(key));
                            out.append(true);
                        }
                        _ => out.append(false),
                    }
                }
                Ok(Arc::new(out.finish()))
            }))
        }
    }
}

fn from_json(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(2, 3)?.into_iter();
    let (Some(text), Some(schema)) = (args.next(), args.next()) else {
        return Err(call.error("arguments are missing"));
    };
    let options = match args.next() {
        Some(options) => decoding(&options)?,
        None => JsonOptions::permissive(JsonMode::FromJson),
    };
    let text = argument(text, &DataType::Utf8, call.ansi(), call.name)?;
    let Some(ddl) = schema.literal_text() else {
        return Err(PlanError::new(
            schema.span,
            "[INVALID_SCHEMA.NON_STRING_LITERAL] the schema has to be a constant text",
        )
        .hint("write it as 'a int, b string'"));
    };
    let ty = parse_schema(ddl).map_err(|error| PlanError { span: schema.span, ..error })?;
    let name = format!("from_json({})", text.name);
    let target = ty.clone();
    let nested = matches!(ty, DataType::Struct(_));
    let structs = matches!(&ty, DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)));
    // What is no struct is decoded as the field of one.
    let fields = match &ty {
        DataType::Struct(fields) => nullable(fields),
        other => Fields::from(vec![Field::new(WRAPPER, other.clone(), true)]),
    };
    let schema = Arc::new(Schema::new(fields));
    let fail_fast = options.rows == MalformedRows::Error;
    // Types that JSON cannot hold are found now.
    JsonDecoder::new(Arc::clone(&schema), options.clone()).map_err(|error| call.error(error.message()))?;
    let ty = if nested { DataType::Struct(schema.fields().clone()) } else { target };
    let typed = Typed::call("from_json", &[text], ty, call.span, move |args| {
        let text = args.array(0)?;
        let failed = |error: levada_connector_api::Error| DataFusionError::Execution(error.to_string());
        let mut decoder = JsonDecoder::new(Arc::clone(&schema), options.clone()).map_err(failed)?;
        let mut wrapped = String::new();
        for text in text.as_string::<i32>() {
            match text {
                None => decoder.push_null(),
                Some(text) if nested => decoder.push(text.as_bytes()),
                // One whole value: otherwise text behind it could pass for more fields.
                Some(text) if is_json(text) => {
                    wrapped.clear();
                    // An object where an array of them is expected is an array of one.
                    let one = structs && text.trim_start().starts_with('{');
                    let (open, close) = if one { ("[", "]}") } else { ("", "}") };
                    wrapped.extend(["{\"", WRAPPER, "\":", open, text, close]);
                    decoder.push(wrapped.as_bytes());
                }
                Some(_) => decoder.push_null(),
            }
        }
        if let Some(bad) = decoder.rejected().first() {
            let message = format!(
                "[MALFORMED_RECORD_IN_PARSING] malformed JSON: {}; use the mode PERMISSIVE to get NULL instead",
                bad.reason
            );
            return Err(DataFusionError::Execution(message));
        }
        let rows = decoder.finish_struct().map_err(failed)?;
        if nested { Ok(Arc::new(rows)) } else { super::field::child(&rows, 0) }
    });
    let typed = typed.named(name);
    Ok(if fail_fast { typed.fallible() } else { typed })
}

const WRAPPER: &str = "value";

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Whatever stands in a JSON text may be null.
fn nullable(fields: &Fields) -> Fields {
    fields.iter().map(|field| Field::clone(field).with_nullable(true)).collect()
}

/// A type, or the columns of a struct.
fn parse_schema(text: &str) -> Planned<DataType> {
    if let Ok(ty @ (DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _))) = ddl::parse_type(text) {
        return Ok(ty);
    }
    match ddl::parse_schema(text) {
        Ok(schema) => Ok(DataType::Struct(schema.fields().clone())),
        Err(error) => {
            let planned =
                PlanError::new(crate::ast::Span::new(0, 0), format!("[PARSE_SYNTAX_ERROR] {}", error.message()));
            Err(planned.hint(error.remedy().unwrap_or("write the schema as 'a int, b string'")))
        }
    }
}

/// How `from_json` decodes, by its map of options.
fn decoding(options: &Typed) -> Planned<JsonOptions> {
    let unsupported = |what: &str| {
        PlanError::new(options.span, format!("from_json: {what}")).hint(
            "the options are mode (PERMISSIVE or FAILFAST), dateFormat, timestampFormat, columnNameOfCorruptRecord and \
             those that allow more than JSON, such as allowComments",
        )
    };
    let Some(ScalarValue::Map(map)) = &options.literal else {
        return Err(unsupported("the options have to be constant"));
    };
    let (keys, values) = (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>());
    let (Some(keys), Some(values)) = (keys, values) else { return Err(unsupported("the options have to be text")) };
    let mut decoding = JsonOptions::permissive(JsonMode::FromJson);
    for (key, value) in keys.iter().flatten().zip(values.iter().map(Option::unwrap_or_default)) {
        let pattern = || match Pattern::new(value) {
            Ok(pattern) => Ok(Some(Arc::new(pattern))),
            Err(error) => Err(unsupported(&format!("[INVALID_DATETIME_PATTERN] {key}: {error}"))),
        };
        match (key.to_ascii_lowercase().as_str(), value.to_ascii_uppercase().as_str()) {
            ("mode", "FAILFAST") => {
                decoding.rows = MalformedRows::Error;
                decoding.fields = MalformedFields::Error;
            }
            ("mode", "PERMISSIVE") => {}
            ("dateformat", _) => decoding.formats.date = pattern()?,
            ("timestampformat", _) => decoding.formats.timestamp = pattern()?,
            ("columnnameofcorruptrecord", _) => decoding.corrupt_column = Some(value.to_owned()),
            (_, word @ ("TRUE" | "FALSE")) if decoding.syntax.set(key, word == "TRUE") => {}
            _ => return Err(unsupported(&format!("the option {key} = {value} is not supported"))),
        }
    }
    Ok(decoding)
}

/// How `to_json` writes, by its map of options.
fn writing(options: &Typed) -> Planned<json_write::Writing> {
    let unsupported = |what: &str| {
        PlanError::new(options.span, format!("to_json: {what}"))
            .hint("the options are dateFormat, timestampFormat and ignoreNullFields")
    };
    let Some(ScalarValue::Map(map)) = &options.literal else {
        return Err(unsupported("the options have to be constant"));
    };
    let (keys, values) = (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>());
    let (Some(keys), Some(values)) = (keys, values) else { return Err(unsupported("the options have to be text")) };
    let mut writing = json_write::Writing::default();
    for (key, value) in keys.iter().flatten().zip(values.iter().map(Option::unwrap_or_default)) {
        let pattern = || match Pattern::new(value) {
            Ok(pattern) => Ok(Some(Arc::new(pattern))),
            Err(error) => Err(unsupported(&format!("[INVALID_DATETIME_PATTERN] {key}: {error}"))),
        };
        match (key.to_ascii_lowercase().as_str(), value.to_ascii_lowercase().as_str()) {
            ("dateformat", _) => writing.formats.date = pattern()?,
            ("timestampformat", _) => writing.formats.timestamp = pattern()?,
            ("ignorenullfields", "true") => writing.nulls = false,
            ("ignorenullfields", "false") => writing.nulls = true,
            _ => return Err(unsupported(&format!("the option {key} = {value} is not supported"))),
        }
    }
    Ok(writing)
}

fn to_json(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(1, 2)?.into_iter();
    let Some(value) = args.next() else { return Err(call.error("a value is missing")) };
    let how = match args.next() {
        Some(options) => writing(&options)?,
        None => json_write::Writing::default(),
    };
    let nested = matches!(value.ty, DataType::Struct(_) | DataType::List(_)) || map_parts(&value.ty).is_some();
    if !nested {
        let message = format!(
            "[DATATYPE_MISMATCH.INVALID_JSON_SCHEMA] to_json takes a struct, map or array, not {}",
            super::types::sql_name(&value.ty)
        );
        return Err(PlanError::new(value.span, message).hint("wrap it: to_json(struct(…))"));
    }
    let name = format!("to_json({})", value.name);
    let typed = Typed::call("to_json", &[value], DataType::Utf8, call.span, move |args| -> Result<ArrayRef> {
        let values = args.array(0)?;
        let mut out = StringBuilder::with_capacity(values.len(), values.len() * 32);
        for row in 0..values.len() {
            if values.is_null(row) {
                out.append_null();
            } else {
                json_write::write(&values, row, &how, &mut out)?;
                out.append_value("");
            }
        }
        Ok(Arc::new(out.finish()))
    });
    Ok(typed.named(name))
}
