//! Lines to columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use levada_connector_api::config::Config;
use levada_connector_api::{BadRow, Result, columns};
use levada_formats::csv::{CsvDecoder, CsvOptions, is_skipped, parse_header};
use levada_formats::json::JsonDecoder;
use levada_formats::{MalformedRows, ddl};

use super::options::{self, Malformed};

/// How much of a file is decoded at once: enough to be quick, little enough to overlap with what follows.
const CHUNK: usize = 2 << 20;
/// The same of text, which is hardly more than copied.
const TEXT_CHUNK: usize = 1 << 20;
/// A buffer larger than this, which took a long line, is not kept.
const KEPT: usize = 4 * CHUNK;

/// What came of the lines of a piece.
pub(crate) struct Decoded {
    /// The rows in order.
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

/// The lines of a piece, as places in its bytes.
enum Lines<'a> {
    /// One by one.
    Listed(&'a [Range<usize>]),
    /// Whole lines that end at line feeds only; the last one may have none.
    Block(Range<usize>),
}

impl Lines<'_> {
    /// Hands each line to `take`; answers how many there were.
    #[inline(always)]
    fn each<'b>(&self, bytes: &'b [u8], mut take: impl FnMut(&'b [u8])) -> usize {
        match self {
            Self::Listed(lines) => {
                lines.iter().for_each(|line| take(bytes.get(line.clone()).unwrap_or_default()));
                lines.len()
            }
            Self::Block(block) => {
                let mut rest = bytes.get(block.clone()).unwrap_or_default();
                let mut count = 0;
                while !rest.is_empty() {
                    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    take(rest.get(..end).unwrap_or_default());
                    rest = rest.get(end + 1..).unwrap_or_default();
                    count += 1;
                }
                count
            }
        }
    }

    /// A line by its number.
    #[cold]
    fn at<'b>(&self, bytes: &'b [u8], number: usize) -> &'b [u8] {
        let (mut found, mut next): (&[u8], _) = (&[], 0);
        self.each(bytes, |line| {
            if next == number {
                found = line;
            }
            next += 1;
        });
        found
    }
}

/// Gathers the lines of a piece and decodes them together.
pub(crate) struct LineDecoder {
    schema: SchemaRef,
    format: Format,
    csv: CsvOptions,
    /// The bytes that the lines are in, see [`own`](Self::own).
    bytes: Vec<u8>,
    lines: Vec<Range<usize>>,
    /// Instead of lines one by one: their bytes, and how many they are.
    block: Option<(Range<usize>, usize)>,
    rejected: Vec<Rejected>,
    /// Before which gathered line a line of the piece was left out: headers, and lines that are too long.
    gaps: Vec<usize>,
}

impl LineDecoder {
    /// A decoder of lines into rows of `schema`.
    pub(crate) fn new(config: &Config, schema: Schema) -> Result<Self> {
        let format = config.string("format").to_ascii_lowercase();
        let column = config.string("column.name.of.corrupt.record");
        let malformed = Malformed::new(config, schema.column_with_name(&column).is_some());
        let csv = options::csv(config, &malformed);
        let mut schema = Arc::new(schema);
        let format = match format.as_str() {
            "json" => {
                let decoder = JsonDecoder::new(schema, options::json(config, &malformed))?;
                schema = decoder.schema().clone();
                Format::Json(decoder)
            }
            "csv" => {
                let decoder = CsvDecoder::new(schema, csv.clone())?;
                schema = decoder.schema().clone();
                Format::Csv(decoder)
            }
            _ => Format::Text {
                replace_invalid: malformed.rows == MalformedRows::Null,
                drop_invalid: malformed.rows == MalformedRows::Drop,
            },
        };
        let (lines, rejected, gaps) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { schema, format, csv, bytes: Vec::new(), lines, block: None, rejected, gaps })
    }

    /// Nobody looks at other columns than these.
    pub(crate) fn only(&mut self, columns: &[String]) {
        match &mut self.format {
            Format::Text { .. } => {}
            Format::Json(decoder) => decoder.only(columns),
            Format::Csv(decoder) => decoder.only(columns),
        }
    }

    /// How much of a file to decode at once, in bytes.
    pub(crate) fn chunk(&self) -> usize {
        if let Format::Text { .. } = self.format { TEXT_CHUNK } else { CHUNK }
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
        self.lines.len() + self.gaps.len() + self.block.as_ref().map_or(0, |(_, lines)| *lines)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A line that is no data: a header.
    pub(crate) fn skip(&mut self) {
        self.gaps.push(self.lines.len());
    }

    pub(crate) fn reject_long(&mut self, start: &[u8], limit: usize) {
        let reason = format!("the line is longer than max.line.bytes ({limit} bytes); only its beginning is kept");
        self.rejected.push(Rejected { line: self.len(), reason, raw: start.to_vec() });
        self.gaps.push(self.lines.len());
    }

    /// Takes a line by its place in the bytes that [`own`](Self::own) will be given.
    pub(crate) fn push(&mut self, line: Range<usize>) {
        self.lines.push(line);
    }

    /// Takes so many whole lines at once, which end at line feeds only. Nothing else may be taken before or after.
    pub(crate) fn push_block(&mut self, block: Range<usize>, lines: usize) {
        self.block = Some((block, lines));
    }

    /// Takes over the bytes in which the lines are: the first `taken` of `buffer`, where the others stay.
    pub(crate) fn own(&mut self, buffer: &mut Vec<u8>, taken: usize) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(buffer.get(taken..).unwrap_or_default());
        std::mem::swap(&mut self.bytes, buffer);
    }

    /// Forgets what was taken.
    pub(crate) fn forget(&mut self) {
        self.lines.clear();
        self.block = None;
        self.rejected.clear();
        self.gaps.clear();
    }

    /// Decodes what was taken.
    pub(crate) fn finish(&mut self) -> Result<Decoded> {
        let listed = std::mem::take(&mut self.lines);
        let block = self.block.take();
        let gaps = std::mem::take(&mut self.gaps);
        let mut rejected = std::mem::take(&mut self.rejected);
        let bytes = self.bytes.as_slice();
        let size = block.as_ref().map_or_else(|| listed.iter().map(Range::len).sum(), |(block, _)| block.len());
        let lines = block.map_or(Lines::Listed(&listed), |(block, _)| Lines::Block(block));
        if let Format::Text { .. } = self.format
            && gaps.is_empty()
            && let Some(array) = whole_text(bytes, &lines, size)?
        {
            let rows = RecordBatch::try_new(self.schema.clone(), vec![Arc::new(array)])?;
            return Ok(Decoded { parts: vec![Part { rows, first: Some(0) }], rejected });
        }
        let (rows, bad, Taken { lines, one_each }) = self.format.decode(&self.schema, bytes, &lines)?;
        // Where rows stop standing on lines that follow each other: at refused lines and at gaps.
        let mut breaks: Vec<(usize, usize)> = bad.iter().map(|bad| (bad.line, 1)).collect();
        let known = one_each && rows.num_rows() + bad.len() == lines;
        rejected.extend(bad.into_iter().map(|bad| Rejected { line: line_of(bad.line, &gaps), ..bad }));
        rejected.sort_by_key(|bad| bad.line);
        breaks.extend(gaps.iter().filter(|gap| (1..lines).contains(*gap)).map(|gap| (*gap, 0)));
        let mut parts = Vec::with_capacity(1);
        if known && breaks.len() <= BREAKS {
            breaks.sort_unstable();
            breaks.push((lines, 0));
            let (mut row, mut line) = (0, 0);
            for (at, skipped) in breaks {
                let count = at.saturating_sub(line);
                if count > 0 {
                    let first = Some(line_of(line, &gaps) as u64);
                    parts.push(Part { rows: rows.slice(row, count), first });
                }
                (row, line) = (row + count, at + skipped);
            }
        } else {
            parts.push(Part { rows, first: None });
        }
        Ok(Decoded { parts, rejected })
    }
}

/// With more breaks than these the places of rows are not told: batches of a few rows each would cost too much.
const BREAKS: usize = 16;

/// The line in the piece of a gathered line.
fn line_of(gathered: usize, gaps: &[usize]) -> usize {
    gathered + gaps.iter().filter(|gap| **gap <= gathered).count()
}

impl Format {
    /// Decodes lines. Answers how many they were; rejected lines are counted from the first of them.
    fn decode(
        &mut self,
        schema: &SchemaRef,
        bytes: &[u8],
        lines: &Lines<'_>,
    ) -> Result<(RecordBatch, Vec<Rejected>, Taken)> {
        let mut one_each = true;
        let (count, (rows, bad)) = match self {
            Self::Text { replace_invalid, drop_invalid } => {
                let (array, bad, count) = text(bytes, lines, *replace_invalid, *drop_invalid);
                let taken = Taken { lines: count, one_each };
                return Ok((RecordBatch::try_new(schema.clone(), vec![Arc::new(array)])?, bad, taken));
            }
            Self::Json(decoder) => {
                // A line with an array gives several rows, and another none: their number alone tells nothing.
                let count = lines.each(bytes, |line| {
                    let before = decoder.len();
                    decoder.push(line);
                    one_each &= decoder.len() <= before + 1;
                });
                (count, decoder.finish()?)
            }
            Self::Csv(decoder) => (lines.each(bytes, |line| decoder.push(line)), decoder.finish()?),
        };
        let named = |bad: levada_formats::Rejected| Rejected {
            line: bad.index,
            reason: bad.reason,
            raw: lines.at(bytes, bad.index).to_vec(),
        };
        Ok((rows, bad.into_iter().map(named).collect(), Taken { lines: count, one_each }))
    }
}

/// What a decoder was given.
struct Taken {
    lines: usize,
    /// Whether no line gave more rows than one. With as many rows as lines that were not refused, each of them gave one.
    one_each: bool,
}

/// Lines one after the other as the values of an array; `None` if they are not all text.
fn whole_text(bytes: &[u8], lines: &Lines<'_>, size: usize) -> Result<Option<StringArray>> {
    let mut values = Vec::with_capacity(size);
    let mut offsets = vec![0i32];
    lines.each(bytes, |line| {
        values.extend_from_slice(line);
        offsets.push(values.len() as i32);
    });
    // Every cut is valid, too: a line ends before an ASCII byte.
    if i32::try_from(values.len()).is_err() || simdutf8::basic::from_utf8(&values).is_err() {
        return Ok(None);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Ok(Some(StringArray::try_new(offsets, Buffer::from_vec(values), None)?))
}

/// Lines as they are, where not all of them are text.
fn text(
    bytes: &[u8],
    lines: &Lines<'_>,
    replace_invalid: bool,
    drop_invalid: bool,
) -> (StringArray, Vec<Rejected>, usize) {
    let mut good = Vec::new();
    let mut rejected = Vec::new();
    let mut number = 0;
    let count = lines.each(bytes, |line| {
        match std::str::from_utf8(line) {
            Ok(text) => good.push(std::borrow::Cow::Borrowed(text)),
            Err(_) if replace_invalid => good.push(String::from_utf8_lossy(line)),
            Err(_) if drop_invalid => {}
            Err(error) => rejected.push(Rejected {
                line: number,
                reason: format!("not UTF-8 at byte {} of the line", error.valid_up_to()),
                raw: line.to_vec(),
            }),
        }
        number += 1;
    });
    (StringArray::from_iter_values(good), rejected, count)
}
