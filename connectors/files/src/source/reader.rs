//! Reading one file: bytes in, pieces of whole lines out.

use std::io::{Cursor, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use levada_connector_api::{Error, Result, Retry};
use levada_formats::text::{self, LineEnd};
use levada_storage::{Location, blocking};
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStoreExt as _};

use super::changes::shrunk;
use super::charset::Charset;
use super::decode::LineDecoder;
use super::listing::FileEntry;
use super::records::Records;

/// How much of a line that is too long goes to the dead letters.
const KEPT_OF_LONG_LINE: usize = 1024;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) fn of(option: &str, name: &str) -> Self {
        match (option, name.rsplit('.').next()) {
            ("gzip", _) | ("auto", Some("gz")) => Self::Gzip,
            ("zstd", _) | ("auto", Some("zst")) => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// A line of names at a file's beginning, until it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Header {
    /// There is none, or it has been read.
    None,
    /// It is left out, whatever it says; other names than these are worth a warning.
    Skip(Arc<[String]>),
    /// It must have these names.
    Check(Arc<[String]>),
}

impl Header {
    /// Names are compared as Spark does: without case. Where two were equal, the columns have their places appended.
    fn check(&self, found: &[String], file: &str) -> Result<()> {
        let (Self::Check(wanted) | Self::Skip(wanted)) = self else { return Ok(()) };
        let equal = |(place, (wanted, found)): (usize, (&String, &String))| {
            wanted.to_lowercase() == found.to_lowercase() || *wanted == format!("{found}{place}")
        };
        if wanted.len() == found.len() && wanted.iter().zip(found).enumerate().all(equal) {
            return Ok(());
        }
        if matches!(self, Self::Skip(_)) {
            tracing::warn!(
                file,
                "the header is '{}', but the columns are '{}': fields are taken in their order; set enforce.schema to \
                 false to make this an error",
                found.join(", "),
                wanted.join(", ")
            );
            return Ok(());
        }
        Err(Error::data(format!("the header is '{}', but the columns are '{}'", found.join(", "), wanted.join(", ")))
            .hint("correct the file, or set enforce.schema to true to go by the order of the columns alone"))
    }
}

/// An open file. Positions count bytes after decompression, as UTF-8.
pub(crate) struct OpenFile {
    pub(crate) entry: FileEntry,
    pub(crate) label: String,
    pub(crate) position: u64,
    /// Lines before `position`.
    pub(crate) line: u64,
    /// The first position that must not be read; `u64::MAX`: read to the end.
    pub(crate) until: u64,
    /// What is to be done with the line of names at the file's beginning.
    pub(crate) header: Header,
    /// What ends a record. A record that is no line counts as one.
    pub(crate) records: Records,
    /// The buffer holds no whole record.
    starving: bool,
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    eof: bool,
    /// Inside a line that is too long: its rest is thrown away.
    in_long_line: bool,
}

/// What was cut off a file: whole lines.
pub(crate) struct Cut {
    pub(crate) first_line: u64,
    pub(crate) bytes: usize,
    /// Where it ends, and how many lines are before that.
    pub(crate) end: (u64, u64),
    /// Whether the file ends there, or what is to be read of it.
    pub(crate) done: bool,
}

impl Cut {
    pub(crate) fn lines(&self) -> usize {
        usize::try_from(self.end.1 + 1 - self.first_line).unwrap_or(usize::MAX)
    }
}

/// How much a piece may hold.
pub(crate) struct PieceLimit {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// Whether one line must be taken even if it is larger than `bytes`.
    pub(crate) at_least_one: bool,
    pub(crate) line_bytes: usize,
    /// How much is read at once.
    pub(crate) chunk: usize,
}

impl OpenFile {
    /// Opens `path` at `position`.
    pub(crate) async fn open(
        base: &Location,
        path: &Path,
        entry: FileEntry,
        label: String,
        (compression, charset): (Compression, Charset),
        start: (u64, u64),
    ) -> Result<Self> {
        let failed =
            |error: object_store::Error| levada_storage::to_error(&label, error).context("the file cannot be read");
        let object = base.store.get(path).await.map_err(failed)?;
        // A file without a byte is no rows, also where a compressed one would have a header.
        let compression = if object.meta.size == 0 { Compression::None } else { compression };
        // Only what is as it was written can be read from its middle.
        let seeks = compression == Compression::None && charset == Charset::Utf8;
        let (size, from) = (object.meta.size, if seeks { start.0 } else { 0 });
        let raw: Box<dyn Read + Send> = match object.payload {
            GetResultPayload::File(mut file, _) => {
                file.seek(SeekFrom::Start(from)).map_err(|e| Error::io(&label, e))?;
                Box::new(file)
            }
            GetResultPayload::Stream(_) => {
                let mut bytes = Cursor::new(object.bytes().await.map_err(failed)?);
                bytes.set_position(from);
                Box::new(bytes)
            }
        };
        let input: Box<dyn Read + Send> = match compression {
            Compression::None => raw,
            Compression::Gzip => Box::new(MultiGzDecoder::new(std::io::BufReader::with_capacity(1 << 16, raw))),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(raw).map_err(|e| broken(&label, e))?),
        };
        let input = charset.decoded(input);
        let mut file = Self {
            entry,
            label,
            position: start.0,
            line: start.1,
            until: u64::MAX,
            header: Header::None,
            records: Records::Lines,
            starving: false,
            input,
            buffer: Vec::new(),
            eof: false,
            in_long_line: false,
        };
        if !seeks {
            file.skip(start.0).await?;
        } else if size < start.0 {
            return Err(file.shrunk(size));
        }
        Ok(file)
    }

    async fn skip(&mut self, bytes: u64) -> Result<()> {
        let mut input = std::mem::replace(&mut self.input, Box::new(std::io::empty()));
        let label = self.label.clone();
        let (input, skipped) = blocking(move || {
            let skipped = std::io::copy(&mut input.by_ref().take(bytes), &mut std::io::sink());
            Ok((input, skipped.map_err(|e| broken(&label, e))?))
        })
        .await?;
        self.input = input;
        if skipped < bytes {
            return Err(self.shrunk(skipped));
        }
        Ok(())
    }

    fn shrunk(&self, at: u64) -> Error {
        match self.until {
            u64::MAX => shrunk(&self.label, at, self.position, "at least "),
            until => shrunk(&self.label, at, until.max(self.position), ""),
        }
    }

    fn endless(&self, limit: usize) -> Error {
        let place = format!("{}: the record that begins at byte {}", self.label, self.position);
        Error::data(format!("{place} is longer than max.line.bytes ({limit} bytes)"))
            .hint("raise max.line.bytes, or look for a quote that is not closed")
    }

    /// The first bytes, at most `most`, and whether that is all.
    pub(crate) fn head(&mut self, most: usize) -> Result<(Vec<u8>, bool)> {
        let mut bytes = Vec::new();
        let limit = (most as u64).saturating_add(1);
        self.input.by_ref().take(limit).read_to_end(&mut bytes).map_err(|e| broken(&self.label, e))?;
        let whole = bytes.len() <= most;
        bytes.truncate(most);
        Ok((bytes, whole))
    }

    /// Cuts off the next piece of whole lines and hands it to `decoder`. No bytes of a file that is not done: nothing fits
    /// into `limit`.
    pub(crate) fn cut(&mut self, limit: &PieceLimit, decoder: &mut LineDecoder) -> Result<Cut> {
        let first_line = self.line + 1;
        let mut bytes = 0;
        loop {
            self.fill(limit)?;
            let left = usize::try_from(self.until - self.position).unwrap_or(usize::MAX);
            let allowed = self.buffer.len().min(left);
            let last = self.eof || allowed == left;
            let (taken, full) = self.take_lines(allowed, last, limit, bytes, decoder)?;
            self.starving = taken == 0 && !full;
            bytes += taken;
            self.position += taken as u64;
            let done = self.position == self.until || (self.eof && taken == self.buffer.len());
            if done && self.until != u64::MAX && self.position < self.until {
                return Err(self.shrunk(self.position));
            }
            // Without a row there is nothing to give yet, unless the file ends: what stands before a header. Who goes on
            // after a piece must be past the header, and past the rest of a long line: else it would be a row.
            if done || full || (!decoder.is_empty() && self.header == Header::None && !self.in_long_line) {
                decoder.own(&mut self.buffer, taken);
                return Ok(Cut { first_line, bytes, end: (self.position, self.line), done });
            }
            self.buffer.drain(..taken);
        }
    }

    fn fill(&mut self, limit: &PieceLimit) -> Result<()> {
        let mut wanted = limit.chunk;
        let open = match self.records {
            Records::Lines => !self.in_long_line && memchr::memchr2(b'\n', b'\r', &self.buffer).is_none(),
            _ => self.starving,
        };
        if open {
            // A line longer than the chunk: make room up to the longest that is allowed.
            wanted = wanted.max((self.buffer.len() * 2).min(limit.line_bytes.saturating_add(2)));
        }
        if self.buffer.len() >= wanted || self.eof {
            return Ok(());
        }
        let missing = (wanted - self.buffer.len()) as u64;
        self.buffer.reserve_exact(missing as usize);
        let read =
            self.input.by_ref().take(missing).read_to_end(&mut self.buffer).map_err(|e| broken(&self.label, e))?;
        self.eof = (read as u64) < missing;
        Ok(())
    }

    /// The whole lines of the buffer at once, with their number, where nothing needs a look at each: no limit, no
    /// carriage return, no header, no line that may be too long.
    fn block(
        &self,
        buffer: &[u8],
        last: bool,
        limit: &PieceLimit,
        before: usize,
        decoder: &LineDecoder,
    ) -> Option<(Range<usize>, usize)> {
        let lines = self.records == Records::Lines && !self.in_long_line;
        let plain = self.header == Header::None && lines && decoder.is_empty();
        if !plain || before + buffer.len() > limit.bytes || buffer.len() > limit.line_bytes {
            return None;
        }
        let end = if last { buffer.len() } else { memchr::memrchr(b'\n', buffer)? + 1 };
        let mut block = 0..end;
        let bytes = buffer.get(..end)?;
        if before == 0 && self.position == 0 && bytes.starts_with(text::BOM) {
            // A byte order mark at the file's beginning is no text.
            block.start = text::BOM.len();
        }
        let open = usize::from(bytes.last().is_some_and(|byte| *byte != b'\n'));
        let lines = memchr::memchr_iter(b'\n', bytes).count() + open;
        let fits = lines > 0 && lines <= limit.rows && memchr::memchr(b'\r', bytes).is_none();
        // A file that holds nothing but the mark is one empty line.
        (fits && block.start < block.end).then_some((block, lines))
    }

    /// Hands lines to the decoder; answers with the bytes they took, and whether a limit stopped it.
    fn take_lines(
        &mut self,
        allowed: usize,
        last: bool,
        limit: &PieceLimit,
        before: usize,
        decoder: &mut LineDecoder,
    ) -> Result<(usize, bool)> {
        let buffer = self.buffer.get(..allowed).unwrap_or_default();
        if let Some((block, lines)) = self.block(buffer, last, limit, before, decoder) {
            self.line += lines as u64;
            let taken = block.end;
            decoder.push_block(block, lines);
            return Ok((taken, false));
        }
        let has_cr = memchr::memchr(b'\r', buffer).is_some();
        let mut at = 0;
        while at < buffer.len() {
            if decoder.len() >= limit.rows && self.header == Header::None && !self.in_long_line {
                return Ok((at, true));
            }
            let rest = buffer.get(at..).unwrap_or_default();
            let (length, next) = match self.records.end(rest, last, has_cr) {
                LineEnd::At { length, next } => (length, next),
                LineEnd::Open => break,
                LineEnd::None if last => (rest.len(), rest.len()),
                LineEnd::None if rest.len() > limit.line_bytes && self.records != Records::Lines => {
                    return Err(self.endless(limit.line_bytes));
                }
                LineEnd::None if rest.len() > limit.line_bytes || self.in_long_line => {
                    if !self.in_long_line {
                        if !decoder.is_empty() && self.header == Header::None {
                            // It begins a piece of its own: what is before it must be decoded before its bytes go.
                            return Ok((at, true));
                        }
                        decoder.reject_long(rest.get(..KEPT_OF_LONG_LINE).unwrap_or(rest), limit.line_bytes);
                        self.in_long_line = true;
                    }
                    at = buffer.len();
                    break;
                }
                LineEnd::None => break,
            };
            let fits = before + at + next <= limit.bytes || (limit.at_least_one && decoder.is_empty());
            if !fits && !self.in_long_line && (self.header == Header::None || decoder.is_empty()) {
                return Ok((at, true));
            }
            let mut line = rest.get(..length).unwrap_or_default();
            if at == 0 && before == 0 && self.position == 0 {
                // A byte order mark at the file's beginning is no text.
                line = line.strip_prefix(text::BOM).unwrap_or(line);
            }
            if self.in_long_line {
                self.in_long_line = false;
            } else if self.header != Header::None {
                if let Some(names) = decoder.header(line) {
                    self.header.check(&names, &self.label).map_err(|error| error.context(&self.label))?;
                    self.header = Header::None;
                }
                decoder.skip();
            } else if line.len() > limit.line_bytes {
                decoder.reject_long(line.get(..KEPT_OF_LONG_LINE).unwrap_or(line), limit.line_bytes);
            } else {
                let end = at + length;
                decoder.push(end - line.len()..end);
            }
            self.line += 1;
            at += next;
        }
        Ok((at, false))
    }
}

fn broken(label: &str, error: std::io::Error) -> Error {
    // What the machine did not say is of a decoder: zstd's has no kinds of its own.
    match error.raw_os_error() {
        None => Error::data(format!("{label}: the compressed data is damaged: {error}"))
            .hint("replace the file, or remove it")
            .with_retry(Retry::Permanent),
        Some(_) => Error::io(label, error),
    }
}
