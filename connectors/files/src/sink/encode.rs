//! Rows to the bytes of a file.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use arrow::array::{Array as _, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::json::{LineDelimitedWriter, WriterBuilder};
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use flate2::write::GzEncoder;
use levada_connector_api::json::JsonValues;
use levada_connector_api::{Error, Result};
use object_store::PutPayload;
use parquet::basic::{Compression as ParquetCompression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::parquet::ParquetFile;
use super::values::for_csv;

/// What files are written as.
#[derive(Debug, Clone)]
pub(crate) struct FileFormat {
    pub(crate) format: String,
    pub(crate) compression: String,
    pub(crate) header: bool,
}

impl FileFormat {
    /// The end of a file's name.
    pub(crate) fn extension(&self) -> String {
        match (self.format.as_str(), self.compression.as_str()) {
            ("parquet", _) => "parquet".to_owned(),
            (format, "gzip") => format!("{format}.gz"),
            (format, "zstd") => format!("{format}.zst"),
            (format, _) => format.to_owned(),
        }
    }
}

/// The least room that is made for an encoder's bytes.
const BLOCK: usize = 1 << 20;

/// Where an encoder's bytes gather until they are taken, in blocks: one that grew would be copied again and again.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().map_or(0, |blocks| blocks.iter().map(Vec::len).sum())
    }

    pub(crate) fn take(&self) -> PutPayload {
        let blocks = self.0.lock().map(|mut blocks| std::mem::take(&mut *blocks)).unwrap_or_default();
        blocks.into_iter().map(Bytes::from).collect()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut blocks = self.0.lock().map_err(|_| std::io::Error::other("the buffer is poisoned"))?;
        match blocks.last_mut().filter(|last| last.capacity() - last.len() >= bytes.len()) {
            Some(last) => last.extend_from_slice(bytes),
            None => {
                let mut block = Vec::with_capacity(bytes.len().max(BLOCK));
                block.extend_from_slice(bytes);
                blocks.push(block);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Packed {
    Plain(Buffer),
    Gzip(GzEncoder<Buffer>),
    Zstd(zstd::stream::write::Encoder<'static, Buffer>),
}

impl Packed {
    fn new(compression: &str, buffer: &Buffer) -> Result<Self> {
        Ok(match compression {
            "gzip" => Self::Gzip(GzEncoder::new(buffer.clone(), flate2::Compression::default())),
            "zstd" => Self::Zstd(zstd::stream::write::Encoder::new(buffer.clone(), 1).map_err(failed)?),
            _ => Self::Plain(buffer.clone()),
        })
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(encoder) => encoder.finish().map(|_| ()),
            Self::Zstd(encoder) => encoder.finish().map(|_| ()),
        }
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(buffer) => buffer.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Format {
    Json(Box<LineDelimitedWriter<Packed>>),
    Csv(Box<arrow::csv::Writer<Packed>>),
    Parquet(Box<ParquetFile>),
    /// Parquet whose first rows are still to come: they say how columns are encoded.
    Empty(SchemaRef, ParquetCompression),
}

/// The encoder of one file.
pub(crate) struct Encoder {
    format: Format,
    pub(crate) buffer: Buffer,
}

pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::data(format!("the rows cannot be encoded: {error}"))
}

impl Encoder {
    pub(crate) fn new(file: &FileFormat, schema: SchemaRef) -> Result<Self> {
        let buffer = Buffer::default();
        let format = match file.format.as_str() {
            "parquet" => {
                let compression = match file.compression.as_str() {
                    "none" => ParquetCompression::UNCOMPRESSED,
                    "zstd" => ParquetCompression::ZSTD(ZstdLevel::try_new(1).map_err(failed)?),
                    "snappy" => ParquetCompression::SNAPPY,
                    other => return Err(Error::internal(format!("parquet files with the compression '{other}'"))),
                };
                Format::Empty(schema, compression)
            }
            "csv" => {
                let packed = Packed::new(&file.compression, &buffer)?;
                Format::Csv(Box::new(arrow::csv::WriterBuilder::new().with_header(file.header).build(packed)))
            }
            _ => {
                let builder = WriterBuilder::new().with_encoder_factory(Arc::new(JsonValues));
                Format::Json(Box::new(builder.build(Packed::new(&file.compression, &buffer)?)))
            }
        };
        Ok(Self { format, buffer })
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        match &mut self.format {
            Format::Json(writer) => writer.write(rows).map_err(failed),
            Format::Csv(writer) => writer.write(&for_csv(rows).map_err(failed)?).map_err(failed),
            Format::Empty(schema, compression) => {
                let writer = parquet(self.buffer.clone(), schema.clone(), *compression, Some(rows))?;
                self.format = Format::Parquet(Box::new(writer));
                self.write(rows)
            }
            Format::Parquet(file) => file.write(rows),
        }
    }

    pub(crate) fn finish(self) -> Result<Buffer> {
        match self.format {
            Format::Json(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner().finish().map_err(failed)?;
            }
            Format::Csv(writer) => writer.into_inner().finish().map_err(failed)?,
            Format::Parquet(file) => file.close()?,
            Format::Empty(schema, compression) => parquet(self.buffer.clone(), schema, compression, None)?.close()?,
        }
        Ok(self.buffer)
    }
}

fn parquet(
    buffer: Buffer,
    schema: SchemaRef,
    compression: ParquetCompression,
    first: Option<&RecordBatch>,
) -> Result<ParquetFile> {
    let mut properties = WriterProperties::builder()
        .set_compression(compression)
        // Chunk statistics are what readers prune by; those of pages cost more than they save.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for (index, field) in schema.fields().iter().enumerate() {
        if first.is_some_and(|rows| rarely_repeats(rows.column(index))) {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
        }
    }
    ParquetFile::new(buffer, schema, properties.build())
}

/// Whether a column's values are so different that a dictionary would be made in vain: the writer gives it up only when
/// it has become too large.
fn rarely_repeats(column: &ArrayRef) -> bool {
    /// Rows that are looked at.
    const SAMPLE: usize = 2048;
    let rows = column.len().min(SAMPLE);
    if rows < SAMPLE || column.data_type().is_nested() || *column.data_type() == DataType::Boolean {
        return false;
    }
    let Ok(converter) = RowConverter::new(vec![SortField::new(column.data_type().clone())]) else { return false };
    let Ok(encoded) = converter.convert_columns(&[column.slice(0, rows)]) else { return false };
    let distinct: HashSet<&[u8]> = (0..rows).map(|row| encoded.row(row).data()).collect();
    distinct.len() * 10 > rows * 9
}
