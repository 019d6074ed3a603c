//! Lines to columns.

use std::sync::Arc;

use arrow::array::{Array as _, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use levada_connector_api::config::Config;
use levada_connector_api::{BadRow, Error, ErrorKind, Result, columns};
use levada_formats::csv::{CsvDecoder, CsvOptions, is_skipped, parse_header};
use levada_formats::json::JsonDecoder;
use levada_formats::{MalformedRows, ddl};

use super::options::{self, Malformed};

/// Fewer bytes than this are not worth a second thread.
const BYTES_PER_THREAD: usize = 128 << 10;

/// What came of the lines of a piece.
pub(crate) struct Decoded {
    /// The rows in order, in one part a thread.
    pub(crate) parts: Vec<Part>,
    pub(crate) rejected: Vec<Rejected>,
}

/// Rows in a row.
pub(crate) struct Part {
    pub(crate) rows: RecordBatch,
    /// The line of the first row in the piece, if every row is the line after the one before.
    pub(crate) first: Option<u64>,
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
            record: None,
        }
    }
}

enum Format {
    Text { replace_invalid: bool, drop_invalid: bool },
    Json(JsonDecoder),
    Csv(CsvDecoder),
}

/// Gathers the lines of a piece and decodes them together, on as many threads as there are cores.
pub(crate) struct LineDecoder {
    schema: SchemaRef,
    /// One a thread.
    formats: Vec<Format>,
    csv: CsvOptions,
    values: Vec<u8>,
    ends: Vec<usize>,
    rejected: Vec<Rejected>,
    /// Before which gathered line a line of the piece was left out: headers, and lines that are too long.
    gaps: Vec<usize>,
}

impl LineDecoder {
    /// A decoder of lines into rows of `schema`.
    pub(crate) fn new(config: &Config, schema: Schema) -> Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let format = config.string("format").to_ascii_lowercase();
        let column = config.string("column.name.of.corrupt.record");
        let malformed = Malformed::new(config, schema.column_with_name(&column).is_some());
        let csv = options::csv(config, &malformed);
        let schema = Arc::new(schema);
        let make = || {
            Ok(match format.as_str() {
                "json" => Format::Json(JsonDecoder::new(schema.clone(), options::json(&malformed))?),
                "csv" => Format::Csv(CsvDecoder::new(schema.clone(), csv.clone())?),
                _ => Format::Text {
                    replace_invalid: malformed.rows == MalformedRows::Null,
                    drop_invalid: malformed.rows == MalformedRows::Drop,
                },
            })
        };
        // Text is not decoded, only checked: a second thread would not pay.
        let threads = if format == "text" { 1 } else { threads };
        let formats: Vec<Format> = (0..threads).map(|_| make()).collect::<Result<_>>()?;
        let schema = match formats.first() {
            Some(Format::Json(decoder)) => decoder.schema().clone(),
            Some(Format::Csv(decoder)) => decoder.schema().clone(),
            _ => schema,
        };
        Ok(Self { schema, formats, csv, values: Vec::new(), ends: Vec::new(), rejected: Vec::new(), gaps: Vec::new() })
    }

    /// The columns of the configuration; `None` if they are to be found in the data.
    pub(crate) fn given_schema(config: &Config) -> Result<Option<Schema>> {
        Ok(match config.string_opt("schema") {
            Some(text) => Some(ddl::parse_schema(&text)?),
            None if config.string("format").eq_ignore_ascii_case("text") => {
                Some(Schema::new(vec![Field::new(columns::VALUE, DataType::Utf8, true)]))
            }
            None => None,
        })
    }

    /// The names in a line of names; `None` if the line is blank or a comment, and the names are still to come.
    pub(crate) fn header(&self, line: &[u8]) -> Option<Vec<String>> {
        (!is_skipped(line, &self.csv)).then(|| parse_header(line, &self.csv))
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Lines taken so far, of whatever kind.
    pub(crate) fn len(&self) -> usize {
        self.ends.len() + self.gaps.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A line that is no data: a header.
    pub(crate) fn skip(&mut self) {
        self.gaps.push(self.ends.len());
    }

    pub(crate) fn reject_long(&mut self, start: &[u8], limit: usize) {
        let reason = format!("the line is longer than max.line.bytes ({limit} bytes); only its beginning is kept");
        self.rejected.push(Rejected { line: self.len(), reason, raw: start.to_vec() });
        self.gaps.push(self.ends.len());
    }

    pub(crate) fn push(&mut self, line: &[u8]) {
        self.values.extend_from_slice(line);
        self.ends.push(self.values.len());
    }

    /// Makes room for the lines of a piece at once.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.values.reserve_exact(bytes);
    }

    pub(crate) fn finish(&mut self) -> Result<Decoded> {
        let values = std::mem::take(&mut self.values);
        let ends = std::mem::take(&mut self.ends);
        let gaps = std::mem::take(&mut self.gaps);
        let mut rejected = std::mem::take(&mut self.rejected);
        if let Some(Format::Text { .. }) = self.formats.first()
            && gaps.is_empty()
            && std::str::from_utf8(&values).is_ok()
        {
            // The gathered bytes become the array's buffer. Every cut is valid, too: a line ends before an ASCII byte.
            let offsets: Vec<i32> = std::iter::once(0).chain(ends.iter().map(|end| *end as i32)).collect();
            let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
            let array = StringArray::try_new(offsets, Buffer::from_vec(values), None)?;
            let rows = RecordBatch::try_new(self.schema.clone(), vec![Arc::new(array)])?;
            return Ok(Decoded { parts: vec![Part { rows, first: Some(0) }], rejected });
        }
        let threads = (values.len() / BYTES_PER_THREAD).clamp(1, self.formats.len().max(1));
        let per_thread = ends.len().div_ceil(threads).max(1);
        let (values, ends) = (&values, &ends);
        let schema = &self.schema;
        let decode = |(format, first): (&mut Format, usize)| {
            let last = (first + per_thread).min(ends.len());
            format.decode(schema, values, ends, first..last)
        };
        let mut work: Vec<(&mut Format, usize)> =
            self.formats.iter_mut().zip((0..ends.len().max(1)).step_by(per_thread)).collect();
        let own = work.pop();
        let results: Vec<Result<(RecordBatch, Vec<Rejected>, usize)>> = std::thread::scope(|scope| {
            let others: Vec<_> = work.into_iter().map(|part| scope.spawn(move || decode(part))).collect();
            let own = own.map(decode);
            let panicked = |_| Err(Error::new(ErrorKind::Panic, "decoding panicked"));
            others.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).chain(own).collect()
        });
        let mut parts = Vec::with_capacity(results.len());
        for (i, result) in results.into_iter().enumerate() {
            let (rows, bad, lines) = result?;
            let start = i * per_thread;
            let contiguous =
                rows.num_rows() == lines && !gaps.iter().any(|gap| (start + 1..start + lines).contains(gap));
            let first = contiguous.then(|| line_of(start, &gaps) as u64);
            rejected.extend(bad.into_iter().map(|bad| Rejected { line: line_of(bad.line, &gaps), ..bad }));
            parts.push(Part { rows, first });
        }
        rejected.sort_by_key(|bad| bad.line);
        Ok(Decoded { parts, rejected })
    }
}

/// The line in the piece of a gathered line.
fn line_of(gathered: usize, gaps: &[usize]) -> usize {
    gathered + gaps.iter().filter(|gap| **gap <= gathered).count()
}

impl Format {
    /// Decodes the gathered lines of a range. Rejected lines have their gathered numbers.
    fn decode(
        &mut self,
        schema: &SchemaRef,
        values: &[u8],
        ends: &[usize],
        range: std::ops::Range<usize>,
    ) -> Result<(RecordBatch, Vec<Rejected>, usize)> {
        let lines = range.len();
        let line = |i: usize| {
            let start = if i == 0 { 0 } else { ends.get(i - 1).copied().unwrap_or(0) };
            values.get(start..ends.get(i).copied().unwrap_or(start)).unwrap_or_default()
        };
        let first = range.start;
        let (rows, bad) = match self {
            Self::Text { replace_invalid, drop_invalid } => {
                let (array, bad) = text(ends, &line, *replace_invalid, *drop_invalid)?;
                return Ok((RecordBatch::try_new(schema.clone(), vec![Arc::new(array)])?, bad, lines));
            }
            Self::Json(decoder) => {
                range.for_each(|i| decoder.push(line(i)));
                decoder.finish()?
            }
            Self::Csv(decoder) => {
                range.for_each(|i| decoder.push(line(i)));
                decoder.finish()?
            }
        };
        let named = |bad: levada_formats::Rejected| {
            let i = first + bad.index;
            Rejected { line: i, reason: bad.reason, raw: line(i).to_vec() }
        };
        Ok((rows, bad.into_iter().map(named).collect(), lines))
    }
}

/// Lines as they are, where not all of them are sure to be text.
fn text<'a>(
    ends: &[usize],
    line: &impl Fn(usize) -> &'a [u8],
    replace_invalid: bool,
    drop_invalid: bool,
) -> Result<(StringArray, Vec<Rejected>)> {
    let mut good = Vec::with_capacity(ends.len());
    let mut rejected = Vec::new();
    for i in 0..ends.len() {
        match std::str::from_utf8(line(i)) {
            Ok(text) => good.push(std::borrow::Cow::Borrowed(text)),
            Err(_) if replace_invalid => good.push(String::from_utf8_lossy(line(i))),
            Err(_) if drop_invalid => {}
            Err(error) => rejected.push(Rejected {
                line: i,
                reason: format!("not UTF-8 at byte {} of the line", error.valid_up_to()),
                raw: line(i).to_vec(),
            }),
        }
    }
    let array = StringArray::from_iter_values(good);
    debug_assert_eq!(array.null_count(), 0);
    Ok((array, rejected))
}
