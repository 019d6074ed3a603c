//! Converters: payloads of messages (keys and values) into columns.
//!
//! A converter takes a column of payloads and gives columns, rows that it could not decode, and which payload each row
//! came from. Formats with a schema registry fit the same interface: what a payload says about its schema is inside it.

mod connect_schema;
mod envelope;
mod number;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use levada_connector_api::{Error, Result, columns};

use crate::csv::{CsvDecoder, CsvOptions};
use crate::json::{JsonDecoder, JsonMode, JsonOptions};
use crate::malformed::{MalformedFields, MalformedRows, Rejected};
use envelope::Envelope;
use number::Number;

pub use connect_schema::{ConnectTimes, base64_column, to_connect_schema, to_connect_values};
pub use envelope::envelope_schema;

/// The converters' names, for definitions and messages.
pub const NAMES: &[&str] = &["bytes", "string", "json", "csv", "short", "integer", "long", "float", "double"];

/// What came of a column of payloads.
#[derive(Debug)]
pub struct Converted {
    /// The rows.
    pub rows: RecordBatch,
    /// The payload of each row, by its place; `None` when there is one row for each.
    pub origins: Option<Vec<u32>>,
    /// Payloads that gave no row, by their place.
    pub rejected: Vec<Rejected>,
}

/// Decodes payloads.
pub trait Converter: Send + Sync {
    /// The columns that it gives.
    fn schema(&self) -> SchemaRef;

    /// Only these columns are looked at: the others may be null, where they may.
    fn only(&mut self, columns: &[String]) {
        let _ = columns;
    }

    /// Decodes payloads. A null payload is a tombstone.
    ///
    /// # Errors
    /// Only for bugs and for what has nothing to do with a single payload.
    fn convert(&mut self, payloads: &BinaryArray) -> Result<Converted>;
}

/// How payloads are decoded.
#[derive(Debug, Clone, Default)]
pub struct ConverterOptions {
    /// The columns, for the formats that need to be told.
    pub schema: Option<SchemaRef>,
    /// What becomes of a payload that cannot be read.
    pub rows: MalformedRows,
    /// What becomes of a field that does not fit its column.
    pub fields: MalformedFields,
    /// Whether JSON comes with a schema in every message, as Connect's converter has it by default.
    pub envelope: bool,
}

/// The name of the converter that `name` stands for: our own names, and the class names of Kafka Connect's converters.
pub fn canonical(name: &str) -> Option<&'static str> {
    let short = name.rsplit('.').next().unwrap_or(name);
    let short = match short.strip_suffix("Converter") {
        Some("ByteArray") => "bytes",
        Some(stem) => stem,
        None => short,
    };
    NAMES.iter().copied().find(|own| own.eq_ignore_ascii_case(short))
}

/// The converter called `name`, whose only column, if it has only one, is `column`.
///
/// # Errors
/// There is none of that name, or it needs a schema and has none, or the schema has types without a form in the format.
pub fn converter(name: &str, column: &str, options: ConverterOptions) -> Result<Box<dyn Converter>> {
    let unknown = || Error::config(format!("'{name}' is no converter: use one of {}", NAMES.join(", ")));
    let kind = canonical(name).ok_or_else(unknown)?;
    let schema = || {
        options.schema.clone().ok_or_else(|| {
            Error::config(format!("the converter '{kind}' needs a schema: 'name STRING NOT NULL, age INT'"))
        })
    };
    let ConverterOptions { rows, fields, envelope, .. } = options;
    let single = |data_type| -> SchemaRef { Arc::new(Schema::new(vec![Field::new(column, data_type, true)])) };
    Ok(match kind {
        "bytes" => Box::new(Bytes(single(DataType::Binary))),
        "string" => Box::new(Text(single(DataType::Utf8))),
        "json" => {
            let options = JsonOptions { rows, fields, mode: JsonMode::Message, ..JsonOptions::default() };
            if envelope {
                Box::new(Envelope::new(schema()?, options))
            } else {
                Box::new(Json(JsonDecoder::new(schema()?, options)?))
            }
        }
        "csv" => {
            let options = CsvOptions { rows, fields, ..CsvOptions::default() };
            Box::new(Csv(CsvDecoder::new(schema()?, options)?))
        }
        other => {
            let number = Number::of(other).ok_or_else(unknown)?;
            Box::new(Numbers(single(number.data_type()), number))
        }
    })
}

struct Bytes(SchemaRef);

impl Converter for Bytes {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    fn convert(&mut self, payloads: &BinaryArray) -> Result<Converted> {
        one_to_one(&self.0, Arc::new(payloads.clone()))
    }
}

struct Text(SchemaRef);

impl Converter for Text {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    fn convert(&mut self, payloads: &BinaryArray) -> Result<Converted> {
        // As Connect and Spark do it: bytes that are not UTF-8 become replacement characters. The usual case copies nothing.
        let text = match StringArray::try_from_binary(payloads.clone()) {
            Ok(text) => text,
            Err(_) => payloads.iter().map(|payload| payload.map(String::from_utf8_lossy)).collect(),
        };
        one_to_one(&self.0, Arc::new(text))
    }
}

struct Numbers(SchemaRef, Number);

impl Converter for Numbers {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    fn convert(&mut self, payloads: &BinaryArray) -> Result<Converted> {
        let (values, bad) = self.1.decode(payloads);
        if bad.is_empty() {
            return one_to_one(&self.0, values);
        }
        let mut origins: Vec<u32> = (0..payloads.len() as u32).collect();
        // They come in order.
        origins.retain(|i| bad.binary_search(&(*i as usize)).is_err());
        let places = arrow::array::UInt32Array::from(origins.clone());
        let rows = RecordBatch::try_new(self.0.clone(), vec![arrow::compute::take(&values, &places, None)?])?;
        let reason = |index: usize| {
            let found = if payloads.is_valid(index) { payloads.value(index).len() } else { 0 };
            format!("{} has {} bytes, not {found}", self.1.name(), self.1.width())
        };
        let rejected = bad.into_iter().map(|index| Rejected { index, reason: reason(index) }).collect();
        Ok(Converted { rows, origins: Some(origins), rejected })
    }
}

struct Json(JsonDecoder);

impl Converter for Json {
    fn schema(&self) -> SchemaRef {
        self.0.schema().clone()
    }

    fn only(&mut self, columns: &[String]) {
        self.0.only(columns);
    }

    fn convert(&mut self, payloads: &BinaryArray) -> Result<Converted> {
        let nullable = all_nullable(self.0.schema());
        let decoder = &mut self.0;
        let mut origins = Origins::default();
        let mut tombstones = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            match payload {
                Some(payload) if nullable || !payload.iter().all(u8::is_ascii_whitespace) => decoder.push(payload),
                None if nullable => decoder.push_null(),
                // It takes part in the numbering of the decoder's own rejections, which its reason then replaces.
                _ => {
                    tombstones.push(index);
                    decoder.push(b"?");
                }
            }
            origins.saw(index, decoder.len());
        }
        let (rows, mut rejected) = decoder.finish()?;
        explain(&mut rejected, &tombstones);
        Ok(Converted { rows, origins: origins.finish(), rejected })
    }
}

struct Csv(CsvDecoder);

impl Converter for Csv {
    fn schema(&self) -> SchemaRef {
        self.0.schema().clone()
    }

    fn convert(&mut self, payloads: &BinaryArray) -> Result<Converted> {
        let nullable = all_nullable(self.0.schema());
        let decoder = &mut self.0;
        let mut origins = Origins::default();
        for (index, payload) in payloads.iter().enumerate() {
            // In a file a blank line is none; a message is a message.
            match payload.filter(|payload| !payload.iter().all(u8::is_ascii_whitespace)) {
                Some(payload) => decoder.push(payload.trim_ascii_end()),
                None if nullable => decoder.push_null(),
                None => decoder.reject(TOMBSTONE),
            }
            origins.saw(index, decoder.len());
        }
        let (rows, rejected) = decoder.finish()?;
        Ok(Converted { rows, origins: origins.finish(), rejected })
    }
}

const TOMBSTONE: &str = "the payload is null or empty, and the schema has columns that must not be null; \
    without NOT NULL it is a row of nulls, which sinks that delete take for a tombstone";

fn explain(rejected: &mut [Rejected], tombstones: &[usize]) {
    for bad in rejected.iter_mut().filter(|bad| tombstones.binary_search(&bad.index).is_ok()) {
        bad.reason = TOMBSTONE.to_owned();
    }
}

fn all_nullable(schema: &SchemaRef) -> bool {
    schema.fields().iter().all(|field| field.is_nullable())
}

fn one_to_one(schema: &SchemaRef, column: ArrayRef) -> Result<Converted> {
    let options = RecordBatchOptions::new().with_row_count(Some(column.len()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), vec![column], &options)?;
    Ok(Converted { rows, origins: None, rejected: Vec::new() })
}

/// The payload of each row: written down from the first payload on that did not give one row.
#[derive(Default)]
struct Origins {
    rows: usize,
    places: Option<Vec<u32>>,
}

impl Origins {
    /// After the payload `index`, there are `rows` rows.
    #[inline]
    fn saw(&mut self, index: usize, rows: usize) {
        if rows != self.rows + 1 && self.places.is_none() {
            self.places = Some((0..self.rows as u32).collect());
        }
        if let Some(places) = &mut self.places {
            places.extend(std::iter::repeat_n(index as u32, rows.saturating_sub(self.rows)));
        }
        self.rows = rows;
    }

    fn finish(self) -> Option<Vec<u32>> {
        self.places
    }
}

/// The name of the column of a payload that is not decoded.
pub const VALUE: &str = columns::VALUE;

#[cfg(test)]
mod tests;
