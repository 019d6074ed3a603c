//! Values that Arrow's writers would lose or write so that nobody reads them back: they are written as Spark writes them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, PrimitiveArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use levada_formats::json::encode_base64;

/// The name of a number that is not finite.
fn special(number: f64) -> Option<&'static str> {
    match number {
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        number if number.is_nan() => Some("NaN"),
        _ => None,
    }
}

fn has_special<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> bool
where
    T::Native: Into<f64>,
{
    array.values().iter().any(|number| !Into::<f64>::into(*number).is_finite())
}

/// JSON: binary as base64, and numbers that are not finite as text.
#[derive(Debug)]
pub(crate) struct JsonValues;

impl EncoderFactory for JsonValues {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float64 if has_special(array.as_primitive::<Float64Type>()) => {
                Box::new(Doubles(array.as_primitive()))
            }
            DataType::Float32 if has_special(array.as_primitive::<Float32Type>()) => {
                Box::new(Floats(array.as_primitive()))
            }
            DataType::Binary => Box::new(Bytes(array.as_binary())),
            _ => return Ok(None),
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
    match special(number) {
        Some(name) => out.extend_from_slice(format!("\"{name}\"").as_bytes()),
        None => out.extend_from_slice(format!("{digits:?}").as_bytes()),
    }
}

struct Bytes<'a>(&'a arrow::array::BinaryArray);

impl Encoder for Bytes<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        encode_base64(self.0.value(index), out);
        out.push(b'"');
    }
}

/// CSV: numbers that are not finite by their names.
pub(crate) fn for_csv(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let wanted = |column: &ArrayRef| match column.data_type() {
        DataType::Float64 => has_special(column.as_primitive::<Float64Type>()),
        DataType::Float32 => has_special(column.as_primitive::<Float32Type>()),
        _ => false,
    };
    if !rows.columns().iter().any(wanted) {
        return Ok(rows.clone());
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if !wanted(column) {
            fields.push(field.clone());
            columns.push(column.clone());
            continue;
        }
        let (texts, numbers) = (cast(column, &DataType::Utf8)?, cast(column, &DataType::Float64)?);
        let numbers = numbers.as_primitive::<Float64Type>().iter();
        let texts = texts.as_string::<i32>().iter().zip(numbers);
        let named = texts.map(|(text, number)| number.and_then(special).or(text)).collect::<StringArray>();
        fields.push(Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)));
        columns.push(Arc::new(named));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
