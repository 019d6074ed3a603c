//! `from_csv` and `to_csv`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err};
use levada_formats::csv::{CsvDecoder, CsvOptions, is_skipped};
use levada_formats::scalar::Pattern;
use levada_formats::{MalformedFields, MalformedRows, ddl};

use super::Invocation;
use super::cast::{Mode, cast_array, display};
use super::types::timestamp;
use crate::ast::{PlanError, Planned};
use crate::coerce::argument;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &["from_csv", "to_csv"];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    if call.name == "from_csv" {
        return from_csv(call);
    }
    let [value] = call.exactly()?;
    let flat = match &value.ty {
        DataType::Struct(fields) => fields.iter().all(|field| !field.data_type().is_nested()),
        _ => false,
    };
    if !flat {
        let message = format!(
            "[DATATYPE_MISMATCH] to_csv takes a struct of plain values, not {}",
            super::types::sql_name(&value.ty)
        );
        return Err(PlanError::new(value.span, message).hint("wrap it: to_csv(struct(…))"));
    }
    let name = format!("to_csv({})", value.name);
    let typed = Typed::call("to_csv", &[value], DataType::Utf8, call.span, |args| {
        let values = args.array(0)?;
        let columns = values.as_struct().columns();
        let line = |row: usize| -> Result<Option<String>> {
            if values.is_null(row) {
                return Ok(None);
            }
            let cells = columns.iter().map(|column| cell(column, row)).collect::<Result<Vec<_>>>()?;
            Ok(Some(cells.join(",")))
        };
        Ok(Arc::new((0..values.len()).map(line).collect::<Result<StringArray>>()?))
    });
    Ok(typed.named(name))
}

/// A value as it stands between commas.
fn cell(column: &ArrayRef, row: usize) -> Result<String> {
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Ok(String::new());
    }
    let text = match column.data_type() {
        DataType::Timestamp(_, zone) => {
            let micros = cast_array(&column.slice(row, 1), &timestamp(), Mode::Legacy)?;
            let micros = micros.as_primitive::<TimestampMicrosecondType>().value(0);
            let pattern = if zone.is_some() { "yyyy-MM-dd'T'HH:mm:ss.SSSXXX" } else { "yyyy-MM-dd'T'HH:mm:ss.SSS" };
            Pattern::new(pattern).map_err(DataFusionError::Execution)?.format(micros)
        }
        _ => display(column, row)?,
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok("\"\"".to_owned());
    }
    Ok(match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\\\"")),
        false => text.to_owned(),
    })
}

fn from_csv(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(2, 3)?.into_iter();
    let (Some(text), Some(schema)) = (args.next(), args.next()) else {
        return Err(call.error("arguments are missing"));
    };
    let options = match args.next() {
        Some(options) => decoding(&options)?,
        None => CsvOptions::permissive(),
    };
    let name = format!("from_csv({})", text.name);
    let text = argument(text, &DataType::Utf8, call.ansi(), call.name)?;
    let wrong = |message: String| {
        PlanError::new(schema.span, message).hint("write the schema as a constant text such as 'a int, b string'")
    };
    let Some(ddl) = schema.literal_text() else {
        return Err(wrong("[INVALID_SCHEMA.NON_STRING_LITERAL] the schema has to be a constant text".to_owned()));
    };
    let fields = match ddl::parse_type(ddl) {
        Ok(DataType::Struct(fields)) => fields,
        _ => ddl::parse_schema(ddl).map_err(|error| wrong(error.message().to_owned()))?.fields().clone(),
    };
    let nullable = |field: &Arc<Field>| Field::clone(field).with_nullable(true);
    let schema = Arc::new(Schema::new(fields.iter().map(nullable).collect::<Vec<_>>()));
    CsvDecoder::new(Arc::clone(&schema), options.clone()).map_err(|error| call.error(error.message()))?;
    let fail_fast = options.rows == MalformedRows::Error;
    let ty = DataType::Struct(schema.fields().clone());
    let typed = Typed::call("from_csv", &[text], ty, call.span, move |args| {
        let text = args.array(0)?;
        let text = text.as_string::<i32>();
        let failed = |error: levada_connector_api::Error| DataFusionError::Execution(error.to_string());
        let mut decoder = CsvDecoder::new(Arc::clone(&schema), options.clone()).map_err(failed)?;
        for line in text {
            match line {
                Some(line) if !is_skipped(line.as_bytes(), &options) => decoder.push(line.as_bytes()),
                _ => decoder.push_null(),
            }
        }
        let (rows, rejected) = decoder.finish().map_err(failed)?;
        if let Some(bad) = rejected.first() {
            return exec_err!(
                "[MALFORMED_RECORD_IN_PARSING] malformed CSV: {}; use the mode PERMISSIVE to get NULL instead",
                bad.reason
            );
        }
        let valid: Vec<bool> = (0..text.len()).map(|row| text.is_valid(row)).collect();
        let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
        let fields = schema.fields().clone();
        Ok(Arc::new(StructArray::try_new(fields, rows.columns().to_vec(), nulls)?))
    });
    let typed = typed.named(name);
    Ok(if fail_fast { typed.fallible() } else { typed })
}

/// How `from_csv` decodes, by its map of options.
fn decoding(options: &Typed) -> Planned<CsvOptions> {
    let unsupported = |what: String| {
        PlanError::new(options.span, format!("from_csv: {what}"))
            .hint("the options are mode, sep, quote, escape, nullValue, dateFormat and timestampFormat")
    };
    let Some(ScalarValue::Map(map)) = &options.literal else {
        return Err(unsupported("the options have to be constant".to_owned()));
    };
    let (keys, values) = (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>());
    let (Some(keys), Some(values)) = (keys, values) else {
        return Err(unsupported("the options have to be text".to_owned()));
    };
    let mut decoding = CsvOptions::permissive();
    for (key, value) in keys.iter().flatten().zip(values.iter().map(Option::unwrap_or_default)) {
        let pattern = || match Pattern::new(value) {
            Ok(pattern) => Ok(Some(Arc::new(pattern))),
            Err(error) => Err(unsupported(format!("[INVALID_DATETIME_PATTERN] {key}: {error}"))),
        };
        let byte = || match value.as_bytes() {
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err(unsupported(format!("{key} is one ASCII character, not '{value}'"))),
        };
        match (key.to_ascii_lowercase().as_str(), value.to_ascii_uppercase().as_str()) {
            ("mode", "FAILFAST") => {
                decoding.rows = MalformedRows::Error;
                decoding.fields = MalformedFields::Error;
            }
            ("mode", "PERMISSIVE") => {}
            ("sep" | "delimiter", _) => {
                let separated = decoding.separated_by(value);
                decoding = separated.ok_or_else(|| unsupported(format!("{key} is empty")))?;
            }
            ("quote", _) => decoding.quote = byte()?,
            ("escape", _) => decoding.escape = byte()?,
            ("nullvalue", _) => value.clone_into(&mut decoding.null_value),
            ("dateformat", _) => decoding.formats.date = pattern()?,
            ("timestampformat", _) => decoding.formats.timestamp = pattern()?,
            _ => return Err(unsupported(format!("the option {key} = {value} is not supported"))),
        }
    }
    Ok(decoding)
}
