//! Rows as JSON lines: where Arrow's writer would lose a value, or write it so that nobody reads it back, it is written as
//! Spark writes it. Sinks and dead letters share it.

mod maps;
mod times;

use std::sync::Arc;

use arrow::array::{Array, AsArray as _, BinaryArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use arrow::json::{LineDelimitedWriter, WriterBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::times::{civil_from_days, far_times_as_text, write_date, write_interval};

/// Appends bytes in base64, with padding.
pub fn encode_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, out.get_mut(start..).unwrap_or_default());
    // There is room for it.
    out.truncate(start + written.unwrap_or(0));
}

/// Rows as lines of JSON.
///
/// # Errors
/// A column's type has no form in JSON.
pub fn write_lines(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut writer: LineDelimitedWriter<_> =
        WriterBuilder::new().with_encoder_factory(Arc::new(JsonValues)).build(&mut *out);
    writer.write(rows)?;
    writer.finish()
}

/// The name of a number that is not finite.
pub fn special_number(number: f64) -> Option<&'static str> {
    match number {
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        number if number.is_nan() => Some("NaN"),
        _ => None,
    }
}

/// Whether any number is not finite.
pub fn has_special<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> bool
where
    T::Native: Into<f64>,
{
    array.values().iter().any(|number| !Into::<f64>::into(*number).is_finite())
}

/// For Arrow's JSON writer: binary as base64, numbers that are not finite as text, times of any year, and maps whole.
#[derive(Debug)]
pub struct JsonValues;

impl EncoderFactory for JsonValues {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float64 if has_special(array.as_primitive::<Float64Type>()) => {
                Box::new(Doubles(array.as_primitive()))
            }
            DataType::Float32 if has_special(array.as_primitive::<Float32Type>()) => {
                Box::new(Floats(array.as_primitive()))
            }
            DataType::Binary => Box::new(Bytes(array.as_binary())),
            DataType::Map(_, _) => maps::encoder(array, options)?,
            _ => match times::encoder(array) {
                Some(encoder) => encoder,
                None => return Ok(None),
            },
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Doubles<'a>(&'a PrimitiveArray<Float64Type>);

impl Encoder for Doubles<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let number = self.0.value(index);
        put(number, &number, out);
    }
}

struct Floats<'a>(&'a PrimitiveArray<Float32Type>);

impl Encoder for Floats<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let number = self.0.value(index);
        put(number.into(), &number, out);
    }
}

fn put(number: f64, digits: &dyn std::fmt::Debug, out: &mut Vec<u8>) {
    match special_number(number) {
        Some(name) => out.extend_from_slice(format!("\"{name}\"").as_bytes()),
        None => out.extend_from_slice(format!("{digits:?}").as_bytes()),
    }
}

struct Bytes<'a>(&'a BinaryArray);

impl Encoder for Bytes<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        encode_base64(self.0.value(index), out);
        out.push(b'"');
    }
}
