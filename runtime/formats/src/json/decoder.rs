//! The decoder.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use levada_connector_api::{Error, Result};

use super::cursor::{Cursor, Syntax};
use super::record::Record;
use super::value::{Fit, Scratch, object};
use crate::column::{Column, Nulls, Values, nullable, struct_array};
use crate::ddl::type_name;
use crate::malformed::{MalformedFields, MalformedRows, Rejected};

/// Which of Spark's two sets of rules holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonMode {
    /// The JSON source: blank records give no row, an array of objects gives a row each, and values other than strings
    /// keep their text in a string column.
    #[default]
    Source,
    /// `from_json`: one row for each record, null for a blank one; arrays are malformed, and values other than strings
    /// are written anew in a string column.
    FromJson,
    /// As `FromJson`, but a record that is rejected or dropped has no row: for messages with metadata of their own.
    Message,
}

/// How records are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonOptions {
    /// What becomes of a row that cannot be read.
    pub rows: MalformedRows,
    /// What becomes of a field that does not fit its column.
    pub fields: MalformedFields,
    /// The name of the column that takes the text of malformed records, used if the schema has it as a string.
    pub corrupt_column: Option<String>,
    /// Which rules hold.
    pub mode: JsonMode,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            rows: MalformedRows::default(),
            fields: MalformedFields::default(),
            corrupt_column: Some("_corrupt_record".to_owned()),
            mode: JsonMode::default(),
        }
    }
}

impl JsonOptions {
    /// Spark's PERMISSIVE mode: nothing is rejected.
    pub fn permissive(mode: JsonMode) -> Self {
        Self { rows: MalformedRows::Null, fields: MalformedFields::Null, mode, ..Self::default() }
    }
}

/// Decodes JSON records into Arrow columns.
pub struct JsonDecoder {
    schema: SchemaRef,
    options: JsonOptions,
    record: Record,
    names: Vec<String>,
    corrupt: Option<(usize, Column)>,
    top: Nulls,
    scratch: Scratch,
    rows: usize,
    pushed: usize,
    rejected: Vec<Rejected>,
}

impl JsonDecoder {
    /// A decoder for rows of `schema`. Types without a JSON form are an error.
    pub fn new(schema: SchemaRef, options: JsonOptions) -> Result<Self> {
        let (data, corrupt) = split_corrupt(&schema, options.corrupt_column.as_deref())?;
        let strict = options.fields == MalformedFields::Error;
        let relaxed = !strict || options.rows == MalformedRows::Null;
        let effective = effective_schema(&schema, relaxed);
        let mut record = Record::new(&if relaxed { data.iter().map(|f| nullable(f)).collect() } else { data.clone() })?;
        if strict {
            record.required = required(&data);
        }
        Ok(Self {
            schema: effective,
            record,
            names: data.iter().map(|f| f.name().clone()).collect(),
            corrupt,
            top: Nulls::default(),
            scratch: Scratch::new(options.mode, strict),
            rows: 0,
            pushed: 0,
            rejected: Vec::new(),
            options,
        })
    }

    /// The schema of the batches. Where rows or fields may become null, every column is nullable.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows decoded since the last `finish`.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row has been decoded since the last `finish`.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Decodes one record: appends its row or rows, or notes why there are none.
    pub fn push(&mut self, record: &[u8]) {
        let index = self.pushed;
        self.pushed += 1;
        self.scratch.reset();
        let bytes = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
        let mut cursor = Cursor { bytes, at: 0 };
        cursor.skip_blanks();
        let row = self.rows;
        let decoded = match cursor.peek() {
            b'{' => {
                cursor.at += 1;
                object(&mut cursor, &mut self.record, row, &mut self.scratch).map(|fit| (1, fit))
            }
            b'[' if self.options.mode == JsonMode::Source => self.array(&mut cursor),
            _ if cursor.at_end() => return self.blank(),
            _ => cursor.fail("this is no object"),
        };
        match decoded {
            Ok((rows, Fit::Whole)) => self.accept(rows, None),
            Ok((rows, _)) if self.options.fields == MalformedFields::Null => self.accept(rows, Some(record)),
            Ok(_) => {
                let reason = self.bad_field(bytes, row);
                self.malformed(index, record, |_| reason);
            }
            Err(error) => self.malformed(index, record, |_| syntax_reason(bytes, error)),
        }
    }

    /// Appends a null row, as `from_json(NULL)` gives it.
    pub fn push_null(&mut self) {
        self.pushed += 1;
        self.null_row(false);
    }

    /// The rows and the rejected records since the last `finish`, which this empties.
    pub fn finish(&mut self) -> Result<(RecordBatch, Vec<Rejected>)> {
        let rows = self.rows;
        let columns = self.columns()?;
        self.top.finish(rows);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok((batch, std::mem::take(&mut self.rejected)))
    }

    /// As [`finish`](Self::finish), as a struct column that is null for null and blank records.
    /// Rejected records are null too: take them with [`rejected`](Self::rejected) before.
    pub fn finish_struct(&mut self) -> Result<StructArray> {
        let rows = self.rows;
        let columns = self.columns()?;
        let nulls = self.top.finish(rows);
        self.rejected.clear();
        struct_array(self.schema.fields().clone(), columns, nulls, rows)
    }

    /// The records rejected since the last `finish`.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    fn columns(&mut self) -> Result<Vec<ArrayRef>> {
        self.rows = 0;
        self.pushed = 0;
        let mut columns = self.record.finish()?;
        if let Some((index, column)) = &mut self.corrupt {
            columns.insert((*index).min(columns.len()), column.finish()?);
        }
        Ok(columns)
    }

    /// An array of objects after nothing: a row each.
    fn array(&mut self, cursor: &mut Cursor<'_>) -> std::result::Result<(usize, Fit), Syntax> {
        cursor.at += 1;
        cursor.skip_blanks();
        let mut fit = Fit::Whole;
        let mut rows = 0;
        if cursor.peek() == b']' {
            cursor.at += 1;
            return Ok((rows, fit));
        }
        loop {
            cursor.expect(b'{', "an array of rows holds objects only")?;
            if object(cursor, &mut self.record, self.rows + rows, &mut self.scratch)? != Fit::Whole {
                fit = Fit::Partly;
            }
            rows += 1;
            cursor.skip_blanks();
            match cursor.peek() {
                b',' => cursor.at += 1,
                b']' => {
                    cursor.at += 1;
                    return Ok((rows, fit));
                }
                _ => return cursor.fail("expected a comma or the closing bracket"),
            }
            cursor.skip_blanks();
        }
    }

    #[inline]
    fn accept(&mut self, rows: usize, corrupt: Option<&[u8]>) {
        for _ in 0..rows {
            self.top.push(self.rows, true);
            self.rows += 1;
            if let Some((_, column)) = &mut self.corrupt {
                push_text(column, corrupt);
            }
        }
    }

    fn blank(&mut self) {
        if self.options.mode != JsonMode::Source {
            self.null_row(false);
        }
    }

    fn null_row(&mut self, valid: bool) {
        self.record.columns.iter_mut().for_each(Column::append_null);
        if let Some((_, column)) = &mut self.corrupt {
            column.append_null();
        }
        self.top.push(self.rows, valid);
        self.rows += 1;
    }

    #[cold]
    fn malformed(&mut self, index: usize, record: &[u8], reason: impl FnOnce(&Self) -> String) {
        self.record.truncate(self.rows);
        match self.options.rows {
            MalformedRows::Null => {
                self.record.columns.iter_mut().for_each(Column::append_null);
                self.accept(1, Some(record));
                return;
            }
            MalformedRows::Error => {
                let reason = reason(self);
                self.rejected.push(Rejected { index, reason });
            }
            MalformedRows::Drop => {}
        }
        // Where each record has its row, those around it keep their places.
        if self.options.mode == JsonMode::FromJson {
            self.null_row(false);
        }
    }

    #[cold]
    fn bad_field(&self, bytes: &[u8], row: usize) -> String {
        let missing = || {
            let null =
                |i: &&usize| self.record.columns.get(**i).is_some_and(|c| (row..c.len).any(|r| c.nulls.is_null(r)));
            let index = self.record.required.iter().find(null);
            let name = index.and_then(|i| self.names.get(*i)).map_or("?", String::as_str);
            format!("field '{name}' is null or missing but declared NOT NULL")
        };
        let Some((index, start, end)) = self.scratch.bad else { return missing() };
        let (Some(name), Some(column)) = (self.names.get(index), self.record.columns.get(index)) else {
            return missing();
        };
        let text = snippet(bytes.get(start..end).unwrap_or_default());
        format!("field '{name}': {text} is no {}", type_name(&column.data_type))
    }
}

pub(crate) fn push_text(column: &mut Column, text: Option<&[u8]>) {
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

fn syntax_reason(bytes: &[u8], error: Syntax) -> String {
    match bytes.get(error.at..) {
        None | Some([]) => format!("malformed JSON: {}", error.problem),
        Some(rest) => {
            let rest = rest.get(..rest.len().min(20)).unwrap_or_default();
            format!("malformed JSON at byte {}: {}, found {}", error.at + 1, error.problem, snippet(rest))
        }
    }
}

fn required(fields: &Fields) -> Vec<usize> {
    fields.iter().enumerate().filter(|(_, f)| !f.is_nullable()).map(|(i, _)| i).collect()
}

/// The schema of the output.
pub(crate) fn effective_schema(schema: &SchemaRef, relaxed: bool) -> SchemaRef {
    if !relaxed {
        return schema.clone();
    }
    let fields: Fields = schema.fields().iter().map(|f| nullable(f)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The fields that records fill, and the corrupt-record column with its place.
pub(crate) fn split_corrupt(schema: &SchemaRef, name: Option<&str>) -> Result<(Fields, Option<(usize, Column)>)> {
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
