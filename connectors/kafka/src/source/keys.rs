//! Keys of messages as a column.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, BinaryArray, BinaryBuilder, RecordBatch, StructArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use levada_connector_api::config::Config;
use levada_connector_api::{Error, Result};
use levada_formats::converter::{self, Converter, ConverterOptions};
use levada_formats::{MalformedFields, MalformedRows, Rejected, ddl};

/// The name of a value that is not in an object: that which it has beside a schema.
const ALONE: &str = "payload";

/// Decodes keys.
pub(super) struct Keys {
    converter: Box<dyn Converter>,
    data_type: DataType,
    /// Whether the column is a struct of the converter's columns.
    object: bool,
    /// Whether keys are JSON values that are put into an object to be read.
    wrapped: bool,
}

/// The columns of JSON keys, and whether they are one value without an object: `id BIGINT NOT NULL, place STRING`, or `BIGINT`.
pub(crate) fn parse_schema(text: &str) -> Result<(Schema, bool)> {
    match (ddl::parse_schema(text), ddl::parse_type(text)) {
        (_, Ok(DataType::Struct(fields))) => Ok((Schema::new(fields), false)),
        (_, Ok(one)) => Ok((Schema::new(vec![Field::new(ALONE, one, true)]), true)),
        (Ok(schema), Err(_)) => Ok((schema, false)),
        (Err(error), Err(_)) => Err(error),
    }
}

impl Keys {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let name = config.string("key.converter");
        let (schema, alone) = match config.string_opt("key.converter.schema") {
            Some(text) => parse_schema(&text).map(|(schema, alone)| (Some(Arc::new(schema)), alone))?,
            None => (None, false),
        };
        let object = converter::canonical(name.trim()) == Some("json") && !alone;
        let envelope = config.bool("key.converter.schemas.enable");
        // A key that is half understood would be another key.
        let options = ConverterOptions {
            schema,
            rows: MalformedRows::Error,
            fields: MalformedFields::Error,
            // Beside its schema, a single value is a field of an object already.
            envelope: envelope && !alone,
        };
        let wrapped = alone && !envelope;
        let converter = converter::converter(name.trim(), ALONE, options)?;
        let fields = converter.schema().fields().clone();
        let data_type = match (object, fields.first()) {
            (false, Some(field)) => field.data_type().clone(),
            _ => DataType::Struct(fields),
        };
        Ok(Self { converter, data_type, object, wrapped })
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// A value for each key, null where a message has none, and the keys that are not what they should be.
    pub(super) fn convert(&mut self, keys: &BinaryArray) -> Result<(ArrayRef, Vec<Rejected>)> {
        let wrapped = self.wrapped.then(|| wrap(keys));
        let converted = self.converter.convert(wrapped.as_ref().unwrap_or(keys))?;
        let column: ArrayRef = match (self.object, converted.rows.columns().first()) {
            (true, _) => whole(converted.rows),
            (false, Some(column)) => column.clone(),
            (false, None) => return Err(Error::internal("a key without a column")),
        };
        let there = keys.nulls().filter(|nulls| nulls.null_count() > 0);
        let Some(origins) = converted.origins else { return Ok((hidden(&column, there)?, Vec::new())) };
        // A message without a key is none with a wrong one.
        let rejected = converted.rejected.into_iter().filter(|bad| keys.is_valid(bad.index)).collect();
        let mut rows: Vec<Option<u32>> = vec![None; keys.len()];
        for (row, index) in origins.iter().enumerate() {
            rows.iter_mut().skip(*index as usize).take(1).for_each(|at| *at = u32::try_from(row).ok());
        }
        Ok((hidden(&take(&column, &UInt32Array::from(rows), None)?, there)?, rejected))
    }
}

/// Rows as one column.
fn whole(rows: RecordBatch) -> ArrayRef {
    Arc::new(StructArray::from(rows))
}

/// The same with nulls also where there is nothing.
fn hidden(column: &ArrayRef, there: Option<&NullBuffer>) -> Result<ArrayRef> {
    let Some(there) = there else { return Ok(column.clone()) };
    let nulls = NullBuffer::union(column.nulls(), Some(there));
    let data = column.to_data().into_builder().nulls(nulls).build().map_err(Error::from)?;
    Ok(arrow::array::make_array(data))
}

/// Values as objects: `42` as `{"payload":42}`.
fn wrap(keys: &BinaryArray) -> BinaryArray {
    let mut objects = BinaryBuilder::with_capacity(keys.len(), keys.value_data().len() + keys.len() * 12);
    let mut object = Vec::new();
    for key in keys {
        objects.append_option(key.map(|key| {
            object.clear();
            object.extend_from_slice(b"{\"payload\":");
            object.extend_from_slice(key);
            object.push(b'}');
            object.as_slice()
        }));
    }
    objects.finish()
}
