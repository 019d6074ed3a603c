//! Bytes as text and back.

use std::sync::Arc;

use arrow::array::{AsArray, BinaryArray, StringArray};
use arrow::datatypes::DataType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Invocation;
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &["base64", "unhex", "crc32", "encode", "decode", "binary"];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    match call.name {
        "base64" => {
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Binary, ansi, "base64")?;
            Ok(Typed::call("base64", &[value], DataType::Utf8, span, |args| {
                let bytes = args.array(0)?;
                Ok(Arc::new(bytes.as_binary::<i32>().iter().map(|v| v.map(encode_base64)).collect::<StringArray>()))
            }))
        }
        "unhex" => {
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Utf8, ansi, "unhex")?;
            Ok(Typed::call("unhex", &[value], DataType::Binary, span, |args| {
                let text = args.array(0)?;
                Ok(Arc::new(text.as_string::<i32>().iter().map(|v| unhex(v?)).collect::<BinaryArray>()))
            }))
        }
        "crc32" => {
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Binary, ansi, "crc32")?;
            Ok(Typed::call("crc32", &[value], DataType::Int64, span, |args| {
                let bytes = args.array(0)?;
                let sums = bytes.as_binary::<i32>().iter().map(|v| v.map(|v| i64::from(crc32fast::hash(v))));
                Ok(Arc::new(sums.collect::<arrow::array::Int64Array>()))
            }))
        }
        "binary" => {
            let [value] = call.exactly()?;
            super::cast::explicit(value, &DataType::Binary, ansi, false, span)
        }
        _ => super::charset::plan(call),
    }
}

/// Bytes in base64, with padding.
pub(super) fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
    (0..padded.len()).step_by(2).map(|at| u8::from_str_radix(padded.get(at..at + 2)?, 16).ok()).collect()
}
