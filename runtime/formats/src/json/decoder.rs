//! The decoder.

use arrow::array::{ArrayRef, RecordBatch, StructArray, new_null_array};
use arrow::datatypes::{DataType, Fields, SchemaRef};
use levada_connector_api::Result;

use super::cursor::{Cursor, Syntax};
use super::record::Record;
use super::relaxed::{JsonSyntax, relax};
use super::value::{Fit, Scratch, object};
use crate::column::{Column, Nulls, nullable, struct_array};
use crate::ddl::type_name;
use crate::malformed::{MalformedFields, MalformedRows, Rejected};
use crate::rows::{Rows, snippet};
use crate::scalar::Formats;

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
    /// How dates and timestamps are written.
    pub formats: Formats,
    /// What else than JSON is taken for JSON.
    pub syntax: JsonSyntax,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            rows: MalformedRows::default(),
            fields: MalformedFields::default(),
            corrupt_column: Some("_corrupt_record".to_owned()),
            mode: JsonMode::default(),
            formats: Formats::default(),
            syntax: JsonSyntax::default(),
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
    options: JsonOptions,
    record: Record,
    rows: Rows,
    /// The fields that are not decoded: in their places stand nulls.
    left_out: Vec<(usize, DataType)>,
    top: Nulls,
    scratch: Scratch,
    /// A record as JSON, where more than JSON is allowed.
    relaxed: Vec<u8>,
}

impl JsonDecoder {
    /// A decoder for rows of `schema`. Types without a JSON form are an error.
    pub fn new(schema: SchemaRef, options: JsonOptions) -> Result<Self> {
        let strict = options.fields == MalformedFields::Error;
        let relaxed = !strict || options.rows == MalformedRows::Null;
        let (rows, data) = Rows::new(&schema, options.corrupt_column.as_deref(), relaxed)?;
        let mut record = Record::new(&if relaxed { data.iter().map(|f| nullable(f)).collect() } else { data.clone() })?;
        if strict {
            record.required = required(&data);
        }
        let mut scratch = Scratch::new(options.mode, strict, options.formats.clone());
        scratch.special = options.syntax.non_numeric;
        Ok(Self { record, rows, left_out: Vec::new(), top: Nulls::default(), scratch, relaxed: Vec::new(), options })
    }

    /// The schema of the batches. Where rows or fields may become null, every column is nullable.
    pub fn schema(&self) -> &SchemaRef {
        &self.rows.schema
    }

    /// Decodes only these columns from now on; the others are null, and make no record a malformed one, as in Spark.
    /// Nothing is left out where any field may make a row a bad one. Called before anything is decoded.
    pub fn only(&mut self, columns: &[String]) {
        if self.options.fields == MalformedFields::Error || !self.left_out.is_empty() {
            return;
        }
        self.left_out = self.rows.unread(columns);
        let numbers: Vec<_> = self.left_out.iter().map(|(at, _)| *at).collect();
        self.record.leave_out(&numbers);
    }

    /// The rows decoded since the last `finish`.
    pub fn len(&self) -> usize {
        self.rows.len
    }

    /// Whether no row has been decoded since the last `finish`.
    pub fn is_empty(&self) -> bool {
        self.rows.len == 0
    }

    /// Decodes one record: appends its row or rows, or notes why there are none.
    pub fn push(&mut self, record: &[u8]) {
        if self.options.syntax.is_default() {
            return self.decode(record, record);
        }
        self.push_relaxed(record);
    }

    /// Apart from the other, which is to stay small.
    #[cold]
    fn push_relaxed(&mut self, record: &[u8]) {
        let mut text = std::mem::take(&mut self.relaxed);
        relax(record, self.options.syntax, &mut text);
        self.decode(&text, record);
        self.relaxed = text;
    }

    /// Decodes `text`, which stands for `record`.
    #[inline(always)]
    fn decode(&mut self, text: &[u8], record: &[u8]) {
        let index = self.rows.record();
        self.scratch.reset();
        let bytes = text.strip_prefix(crate::text::BOM).unwrap_or(text);
        let mut cursor = Cursor { bytes, at: 0 };
        cursor.skip_blanks();
        let row = self.rows.len;
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
        self.rows.record();
        self.null_row(false);
    }

    /// The rows and the rejected records since the last `finish`, which this empties.
    pub fn finish(&mut self) -> Result<(RecordBatch, Vec<Rejected>)> {
        self.top.finish(self.rows.len);
        let columns = self.columns()?;
        self.rows.batch(columns)
    }

    /// As [`finish`](Self::finish), as a struct column that is null for null and blank records.
    /// Rejected records are null too: take them with [`rejected`](Self::rejected) before.
    pub fn finish_struct(&mut self) -> Result<StructArray> {
        let rows = self.rows.len;
        let columns = self.columns()?;
        let columns = self.rows.columns(columns)?;
        let nulls = self.top.finish(rows);
        self.rows.take_rejected();
        struct_array(self.rows.schema.fields().clone(), columns, nulls, rows)
    }

    fn columns(&mut self) -> Result<Vec<ArrayRef>> {
        let mut columns = self.record.finish()?;
        for (at, data_type) in &self.left_out {
            columns.insert((*at).min(columns.len()), new_null_array(data_type, self.rows.len));
        }
        Ok(columns)
    }

    /// The records rejected since the last `finish`.
    pub fn rejected(&self) -> &[Rejected] {
        self.rows.rejected()
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
            if object(cursor, &mut self.record, self.rows.len + rows, &mut self.scratch)? != Fit::Whole {
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
            self.top.push(self.rows.len, true);
            self.rows.accept(corrupt);
        }
    }

    fn blank(&mut self) {
        if self.options.mode != JsonMode::Source {
            self.null_row(false);
        }
    }

    fn null_row(&mut self, valid: bool) {
        self.record.columns.iter_mut().for_each(Column::append_null);
        self.top.push(self.rows.len, valid);
        self.rows.accept(None);
    }

    #[cold]
    fn malformed(&mut self, index: usize, record: &[u8], reason: impl FnOnce(&Self) -> String) {
        self.record.truncate(self.rows.len);
        match self.options.rows {
            MalformedRows::Null => {
                self.record.columns.iter_mut().for_each(Column::append_null);
                self.accept(1, Some(record));
                return;
            }
            MalformedRows::Error => {
                let reason = reason(self);
                self.rows.reject(index, reason);
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
            let name = index.map_or("?", |i| self.rows.name(*i));
            format!("field '{name}' is null or missing but declared NOT NULL")
        };
        let Some((index, start, end)) = self.scratch.bad else { return missing() };
        let Some(column) = self.record.columns.get(index) else { return missing() };
        let name = self.rows.name(index);
        let text = snippet(bytes.get(start..end).unwrap_or_default());
        format!("field '{name}': {text} is no {}", type_name(&column.data_type))
    }
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
