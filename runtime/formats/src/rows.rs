//! What decoders of all formats keep beside their columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use levada_connector_api::{Error, Result};

use crate::column::{Column, Values, nullable};
use crate::malformed::Rejected;

/// Counts records and rows, takes the text of malformed records and the reasons of rejected ones.
pub(crate) struct Rows {
    /// The schema of the batches.
    pub(crate) schema: SchemaRef,
    names: Vec<String>,
    /// The column for the text of malformed records, with its place.
    corrupt: Option<(usize, Column)>,
    /// Rows since the last batch.
    pub(crate) len: usize,
    records: usize,
    rejected: Vec<Rejected>,
}

impl Rows {
    /// The rows of `schema`, and the fields that records fill. The column called `corrupt`, if there is one, takes the
    /// text of malformed records. If `relaxed`, every column of the batches is nullable.
    pub(crate) fn new(schema: &SchemaRef, corrupt: Option<&str>, relaxed: bool) -> Result<(Self, Fields)> {
        let (fields, corrupt) = split_corrupt(schema, corrupt)?;
        let schema = match relaxed {
            false => schema.clone(),
            true => {
                let fields: Fields = schema.fields().iter().map(|f| nullable(f)).collect();
                Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
            }
        };
        let names = fields.iter().map(|f| f.name().clone()).collect();
        Ok((Self { schema, names, corrupt, len: 0, records: 0, rejected: Vec::new() }, fields))
    }

    /// The fields that records fill, and nobody who reads `columns` alone looks at: with their numbers.
    pub(crate) fn unread(&self, columns: &[String]) -> Vec<(usize, DataType)> {
        let corrupt = self.corrupt.as_ref().map(|(at, _)| *at);
        let fields = self.schema.fields().iter().enumerate().filter(|(at, _)| Some(*at) != corrupt);
        let unread = fields.enumerate().filter(|(_, (_, f))| f.is_nullable() && !columns.contains(f.name()));
        unread.map(|(number, (_, field))| (number, field.data_type().clone())).collect()
    }

    /// A record begins: its ordinal.
    #[inline]
    pub(crate) fn record(&mut self) -> usize {
        self.records += 1;
        self.records - 1
    }

    /// The name of the field that records fill at `index`.
    pub(crate) fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or("?", String::as_str)
    }

    /// The columns have one row more; `text` is that of a malformed record.
    #[inline]
    pub(crate) fn accept(&mut self, text: Option<&[u8]>) {
        self.len += 1;
        if let Some((_, column)) = &mut self.corrupt {
            push_text(column, text);
        }
    }

    /// The record `index` gave no row.
    pub(crate) fn reject(&mut self, index: usize, reason: String) {
        self.rejected.push(Rejected { index, reason });
    }

    /// The records rejected since they were taken.
    pub(crate) fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Takes the rejected records.
    pub(crate) fn take_rejected(&mut self) -> Vec<Rejected> {
        std::mem::take(&mut self.rejected)
    }

    /// All columns of the schema, out of those that records fill. Counts anew.
    pub(crate) fn columns(&mut self, mut columns: Vec<ArrayRef>) -> Result<Vec<ArrayRef>> {
        self.len = 0;
        self.records = 0;
        if let Some((index, column)) = &mut self.corrupt {
            columns.insert((*index).min(columns.len()), column.finish()?);
        }
        Ok(columns)
    }

    /// A batch out of the columns that records fill, and the rejected records. Counts anew.
    pub(crate) fn batch(&mut self, columns: Vec<ArrayRef>) -> Result<(RecordBatch, Vec<Rejected>)> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        let columns = self.columns(columns)?;
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok((batch, self.take_rejected()))
    }
}

fn split_corrupt(schema: &SchemaRef, name: Option<&str>) -> Result<(Fields, Option<(usize, Column)>)> {
    let found = name.and_then(|name| schema.fields().iter().position(|f| f.name() == name));
    let Some(index) = found else { return Ok((schema.fields().clone(), None)) };
    let field = schema.field(index);
    if field.data_type() != &DataType::Utf8 || !field.is_nullable() {
        return Err(Error::config(format!("the column '{}' takes the text of malformed records", field.name()))
            .hint("declare it as a nullable STRING, or rename it"));
    }
    let rest = schema.fields().iter().enumerate().filter(|(i, _)| *i != index).map(|(_, f)| f.clone()).collect();
    Ok((rest, Some((index, Column::new(&DataType::Utf8)?))))
}

fn push_text(column: &mut Column, text: Option<&[u8]>) {
    match (text, &mut column.values) {
        (Some(text), Values::Utf8(v)) => {
            v.push(String::from_utf8_lossy(text).as_bytes());
            column.accept();
        }
        _ => column.append_null(),
    }
}

/// A piece of a record for a message, on one line and not too long.
pub(crate) fn snippet(bytes: &[u8]) -> String {
    const LIMIT: usize = 60;
    let text = String::from_utf8_lossy(bytes);
    let mut short: String = text.chars().take(LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LIMIT).is_some() {
        short.push('…');
    }
    short
}
