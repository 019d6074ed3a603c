//! Lines to columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use levada_connector_api::config::Config;
use levada_connector_api::{BadRow, Result, columns};

/// What came of the lines of a piece.
pub(crate) struct Decoded {
    pub(crate) rows: RecordBatch,
    pub(crate) rejected: Vec<Rejected>,
    /// Whether row `i` is line `first + skipped + i`.
    pub(crate) contiguous: bool,
    /// Lines before the first row that are no rows.
    pub(crate) skipped: u64,
}

/// A line that is no row.
pub(crate) struct Rejected {
    /// Its number in the piece, from 0.
    line: usize,
    reason: String,
    raw: Vec<u8>,
}

impl Rejected {
    pub(crate) fn at(self, label: &str, first_line: u64) -> BadRow {
        BadRow {
            reason: self.reason,
            stage: "source".to_owned(),
            position: format!("{label}, line {}", first_line + self.line as u64),
            raw: self.raw,
        }
    }
}

/// Decodes the lines of one piece after the other.
pub(crate) struct LineDecoder {
    schema: SchemaRef,
    values: Vec<u8>,
    offsets: Vec<i32>,
    rejected: Vec<Rejected>,
    /// Lines of the piece, of whatever kind.
    lines: usize,
    skipped: usize,
    replace_invalid: bool,
    drop_invalid: bool,
}

impl LineDecoder {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let rows = config.string_opt("malformed.rows").unwrap_or_default();
        Ok(Self {
            schema: Arc::new(Schema::new(vec![Field::new(columns::VALUE, DataType::Utf8, true)])),
            values: Vec::new(),
            offsets: vec![0],
            rejected: Vec::new(),
            lines: 0,
            skipped: 0,
            replace_invalid: rows.eq_ignore_ascii_case("null"),
            drop_invalid: rows.eq_ignore_ascii_case("drop"),
        })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Lines taken so far.
    pub(crate) fn len(&self) -> usize {
        self.lines
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// A line that is no data: a header.
    pub(crate) fn skip(&mut self) {
        self.lines += 1;
        self.skipped += 1;
    }

    pub(crate) fn reject_long(&mut self, start: &[u8], limit: usize) {
        let reason = format!("the line is longer than max.line.bytes ({limit} bytes); only its beginning is kept");
        self.rejected.push(Rejected { line: self.lines, reason, raw: start.to_vec() });
        self.lines += 1;
    }

    pub(crate) fn push(&mut self, line: &[u8]) {
        self.values.extend_from_slice(line);
        self.offsets.push(self.values.len() as i32);
        self.lines += 1;
    }

    pub(crate) fn finish(&mut self) -> Result<Decoded> {
        let values = std::mem::take(&mut self.values);
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let mut rejected = std::mem::take(&mut self.rejected);
        let (lines, skipped) = (std::mem::take(&mut self.lines), std::mem::take(&mut self.skipped));
        let array = match std::str::from_utf8(&values) {
            // The whole is valid, and every cut is: a line ends before an ASCII byte.
            Ok(_) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                StringArray::try_new(offsets, Buffer::from_vec(values), None)?
            }
            Err(_) => self.line_by_line(&values, &offsets, skipped, &mut rejected),
        };
        rejected.sort_by_key(|bad| bad.line);
        let contiguous = array.len_usize() + skipped == lines;
        let rows = RecordBatch::try_new(self.schema.clone(), vec![Arc::new(array) as ArrayRef])?;
        Ok(Decoded { rows, rejected, contiguous, skipped: skipped as u64 })
    }

    fn line_by_line(
        &self,
        values: &[u8],
        offsets: &[i32],
        skipped: usize,
        rejected: &mut Vec<Rejected>,
    ) -> StringArray {
        let mut good = Vec::with_capacity(offsets.len());
        for (i, pair) in offsets.windows(2).enumerate() {
            let [from, to] = pair else { continue };
            let line = values.get(*from as usize..*to as usize).unwrap_or_default();
            match std::str::from_utf8(line) {
                Ok(text) => good.push(std::borrow::Cow::Borrowed(text)),
                Err(_) if self.replace_invalid => good.push(String::from_utf8_lossy(line)),
                Err(_) if self.drop_invalid => {}
                Err(error) => rejected.push(Rejected {
                    line: i + skipped,
                    reason: format!("not UTF-8 at byte {} of the line", error.valid_up_to()),
                    raw: line.to_vec(),
                }),
            }
        }
        StringArray::from_iter_values(good)
    }
}

trait LenUsize {
    fn len_usize(&self) -> usize;
}

impl LenUsize for StringArray {
    fn len_usize(&self) -> usize {
        arrow::array::Array::len(self)
    }
}
