//! The decoder.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use levada_connector_api::{Error, Result};

use super::long::MARK;
use super::tokens::tokenize;
use super::{is_skipped, value};
use crate::column::Column;
use crate::ddl::type_name;
use crate::malformed::{MalformedFields, MalformedRows, Rejected};
use crate::rows::{Rows, snippet};
use crate::scalar::Formats;

/// How lines are read. The defaults are Spark's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// What separates values; see [`separated_by`](Self::separated_by) for several characters.
    pub separator: u8,
    /// The separator, if it has several characters: as [`separated_by`](Self::separated_by) sets it.
    pub long_separator: Option<Vec<u8>>,
    /// What encloses a value that has separators in it.
    pub quote: u8,
    /// What makes a quote inside quotes a character.
    pub escape: u8,
    /// The text that is null. A value without anything is null in any case.
    pub null_value: String,
    /// What `""` stands for, before it is compared with `null_value`.
    pub empty_value: String,
    /// NaN.
    pub nan_value: String,
    /// Positive infinity.
    pub positive_inf: String,
    /// Negative infinity.
    pub negative_inf: String,
    /// How dates and timestamps are written.
    pub formats: Formats,
    /// Lines that start with this are left out.
    pub comment: Option<u8>,
    /// A line with more values than these is rejected, whatever `rows` says. `None`: there is no limit.
    pub max_columns: Option<usize>,
    /// A line with a value of more characters is rejected, whatever `rows` says. `None`: there is no limit.
    pub max_characters: Option<usize>,
    /// Whether blanks before a value are left out.
    pub ignore_leading_white_space: bool,
    /// Whether blanks after a value are left out.
    pub ignore_trailing_white_space: bool,
    /// What becomes of lines with too few or too many values. With [`MalformedRows::Null`] they keep what they have.
    pub rows: MalformedRows,
    /// What becomes of a value that does not fit its column.
    pub fields: MalformedFields,
    /// The name of the column that takes the text of malformed lines, used if the schema has it as a string.
    pub corrupt_column: Option<String>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            separator: b',',
            long_separator: None,
            quote: b'"',
            escape: b'\\',
            null_value: String::new(),
            empty_value: String::new(),
            nan_value: "NaN".to_owned(),
            positive_inf: "Inf".to_owned(),
            negative_inf: "-Inf".to_owned(),
            formats: Formats::default(),
            comment: None,
            max_columns: None,
            max_characters: None,
            ignore_leading_white_space: false,
            ignore_trailing_white_space: false,
            rows: MalformedRows::default(),
            fields: MalformedFields::default(),
            corrupt_column: Some("_corrupt_record".to_owned()),
        }
    }
}

/// The separator that an option names: `\t` is a tab and `\\` a backslash.
pub fn separator(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, behind) = match (first, after) {
            (b'\\', [b't', behind @ ..]) => (b'\t', behind),
            (b'\\', [b'\\', behind @ ..]) => (b'\\', behind),
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = behind;
    }
    bytes
}

impl CsvOptions {
    /// Separates values by a text as an option [gives](separator()) it. `None`: there is nothing in it.
    pub fn separated_by(self, text: &str) -> Option<Self> {
        match separator(text) {
            bytes if bytes.is_empty() => None,
            bytes if bytes.len() == 1 => Some(Self { separator: *bytes.first()?, long_separator: None, ..self }),
            bytes => Some(Self { separator: MARK, long_separator: Some(bytes), ..self }),
        }
    }

    /// Spark's PERMISSIVE mode: nothing is rejected.
    pub fn permissive() -> Self {
        Self { rows: MalformedRows::Null, fields: MalformedFields::Null, ..Self::default() }
    }
}

/// Decodes lines into Arrow columns.
pub struct CsvDecoder {
    options: CsvOptions,
    columns: Vec<Column>,
    required: Vec<bool>,
    /// Which columns nobody looks at; empty: none.
    unread: Vec<bool>,
    rows: Rows,
    scratch: Vec<u8>,
}

impl CsvDecoder {
    /// A decoder for rows of `schema`. Types without a CSV form are an error.
    pub fn new(schema: SchemaRef, options: CsvOptions) -> Result<Self> {
        let strict = options.fields == MalformedFields::Error;
        let relaxed = !strict || options.rows == MalformedRows::Null;
        let (rows, data) = Rows::new(&schema, options.corrupt_column.as_deref(), relaxed)?;
        if let Some(field) = data.iter().find(|f| f.data_type().is_nested() || f.data_type() == &DataType::Binary) {
            let message = format!("column '{}': CSV has no {}", field.name(), type_name(field.data_type()));
            return Err(Error::config(message).hint("declare it as STRING, or use JSON"));
        }
        let column = |f: &arrow::datatypes::FieldRef| {
            Column::new(f.data_type()).map_err(|e| e.context(format!("column '{}'", f.name())))
        };
        Ok(Self {
            columns: data.iter().map(column).collect::<Result<_>>()?,
            required: data.iter().map(|f| strict && !f.is_nullable()).collect(),
            unread: Vec::new(),
            rows,
            scratch: Vec::new(),
            options,
        })
    }

    /// Decodes only these columns from now on; the others are null, and a line is malformed by what is decoded alone, as in
    /// Spark: how many values it has does not matter then. Nothing is left out where a line may be a bad row. Called
    /// before anything is decoded.
    pub fn only(&mut self, columns: &[String]) {
        if self.options.fields == MalformedFields::Error || self.options.rows != MalformedRows::Null {
            return;
        }
        let unread = self.rows.unread(columns);
        if !unread.is_empty() {
            self.unread = vec![false; self.columns.len()];
            for (at, _) in unread {
                if let Some(unread) = self.unread.get_mut(at) {
                    *unread = true;
                }
            }
        }
    }

    /// The schema of the batches. Where rows or fields may become null, every column is nullable.
    pub fn schema(&self) -> &SchemaRef {
        &self.rows.schema
    }

    /// The rows decoded since the last `finish`.
    pub fn len(&self) -> usize {
        self.rows.len
    }

    /// Whether no row has been decoded since the last `finish`.
    pub fn is_empty(&self) -> bool {
        self.rows.len == 0
    }

    /// Decodes one line, given without its end: appends its row, or notes why there is none. Blank lines and comments
    /// give neither.
    pub fn push(&mut self, line: &[u8]) {
        let index = self.rows.record();
        if is_skipped(line, &self.options) {
            return;
        }
        if simdutf8::basic::from_utf8(line).is_ok() {
            self.decode(index, line);
        } else if self.options.rows == MalformedRows::Error {
            self.rows.reject(index, "the line is not UTF-8".to_owned());
        } else {
            // Spark reads such bytes as replacement characters.
            self.decode(index, String::from_utf8_lossy(line).as_bytes());
        }
    }

    /// Appends a row of nulls, for a record that is there and holds nothing.
    pub fn push_null(&mut self) {
        self.rows.record();
        self.columns.iter_mut().for_each(Column::append_null);
        self.rows.accept(None);
    }

    /// Takes a record for malformed, whatever it holds.
    pub(crate) fn reject(&mut self, reason: &str) {
        let index = self.rows.record();
        match self.options.rows {
            MalformedRows::Null => {
                self.columns.iter_mut().for_each(Column::append_null);
                self.rows.accept(None);
            }
            MalformedRows::Drop => {}
            MalformedRows::Error => self.rows.reject(index, reason.to_owned()),
        }
    }

    fn decode(&mut self, index: usize, line: &[u8]) {
        let Self { options, columns, required, unread, scratch, .. } = self;
        let mut count = 0;
        let mut bad = None;
        let mut too_long = None;
        tokenize(line, options, scratch, |at, token| {
            count = at + 1;
            if let (Some(most), Some(text)) = (options.max_characters, token)
                && text.len() > most
                && String::from_utf8_lossy(text).chars().count() > most
            {
                too_long.get_or_insert(at);
            }
            let Some(column) = columns.get_mut(at) else { return };
            if unread.get(at) == Some(&true) {
                return column.append_null();
            }
            match token.filter(|text| *text != options.null_value.as_bytes()) {
                Some(text) if value::push(column, text, options) => {}
                Some(text) => {
                    column.append_null();
                    bad.get_or_insert_with(|| (at, Some(snippet(text))));
                }
                None => {
                    column.append_null();
                    if required.get(at) == Some(&true) {
                        bad.get_or_insert((at, None));
                    }
                }
            }
        });
        let too_many = options.max_columns.is_some_and(|most| count > most);
        if too_many || too_long.is_some() {
            self.columns.iter_mut().for_each(|c| c.truncate(self.rows.len));
            let reason = match too_long {
                Some(at) => format!("value {} of the line has more characters than are allowed", at + 1),
                None => format!("the line has {count} values, more than are allowed"),
            };
            return self.rows.reject(index, reason);
        }
        let short = count < columns.len();
        let ragged = count != columns.len() && unread.is_empty();
        if !ragged && !short && bad.is_none() {
            return self.rows.accept(None);
        }
        for (column, required) in columns.iter_mut().zip(required).skip(count) {
            column.append_null();
            if *required {
                bad.get_or_insert((count, None));
            }
        }
        if !ragged && bad.is_none() {
            return self.rows.accept(None);
        }
        let bad_row = bad.is_some() && self.options.fields == MalformedFields::Error;
        let bad_shape = ragged && self.options.rows != MalformedRows::Null;
        if !bad_row && !bad_shape {
            return self.rows.accept(Some(line));
        }
        self.columns.iter_mut().for_each(|c| c.truncate(self.rows.len));
        match self.options.rows {
            MalformedRows::Null => {
                self.columns.iter_mut().for_each(Column::append_null);
                self.rows.accept(Some(line));
            }
            MalformedRows::Drop => {}
            MalformedRows::Error => {
                let reason = match bad.filter(|_| !ragged) {
                    None => {
                        let plural = if count == 1 { "" } else { "s" };
                        format!("the line has {count} value{plural}, the columns are {}", self.columns.len())
                    }
                    Some((at, text)) => self.bad_field(at, text),
                };
                self.rows.reject(index, reason);
            }
        }
    }

    fn bad_field(&self, at: usize, text: Option<String>) -> String {
        let name = self.rows.name(at);
        match (text, self.columns.get(at)) {
            (Some(text), Some(column)) => format!("field '{name}': '{text}' is no {}", type_name(&column.data_type)),
            _ => format!("field '{name}' is null or missing but declared NOT NULL"),
        }
    }

    /// The rows and the rejected lines since the last `finish`, which this empties.
    pub fn finish(&mut self) -> Result<(RecordBatch, Vec<Rejected>)> {
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<_>>()?;
        self.rows.batch(columns)
    }
}
