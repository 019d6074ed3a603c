//! Rows to the bytes of a file.

use std::io::Write;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::{LineDelimitedWriter, WriterBuilder};
use flate2::write::GzEncoder;
use levada_connector_api::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as ParquetCompression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::values::{JsonValues, for_csv};

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

/// Where an encoder's bytes gather until they are taken.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().map_or(0, |bytes| bytes.len())
    }

    pub(crate) fn take(&self) -> Vec<u8> {
        self.0.lock().map(|mut bytes| std::mem::take(&mut *bytes)).unwrap_or_default()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().map_err(|_| std::io::Error::other("the buffer is poisoned"))?.extend_from_slice(bytes);
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
    Parquet(Box<ArrowWriter<Buffer>>),
}

/// The encoder of one file.
pub(crate) struct Encoder {
    format: Format,
    pub(crate) buffer: Buffer,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::data(format!("the rows cannot be encoded: {error}"))
}

impl Encoder {
    pub(crate) fn new(file: &FileFormat, schema: SchemaRef) -> Result<Self> {
        let buffer = Buffer::default();
        let packed = match file.compression.as_str() {
            "gzip" => Packed::Gzip(GzEncoder::new(buffer.clone(), flate2::Compression::default())),
            "zstd" if file.format != "parquet" => {
                Packed::Zstd(zstd::stream::write::Encoder::new(buffer.clone(), 1).map_err(failed)?)
            }
            _ => Packed::Plain(buffer.clone()),
        };
        let format = match file.format.as_str() {
            "parquet" => {
                let compression = match file.compression.as_str() {
                    "none" => ParquetCompression::UNCOMPRESSED,
                    "zstd" => ParquetCompression::ZSTD(ZstdLevel::try_new(1).map_err(failed)?),
                    _ => ParquetCompression::SNAPPY,
                };
                let properties = WriterProperties::builder()
                    .set_compression(compression)
                    // Chunk statistics are what readers prune by; those of pages cost more than they save.
                    .set_statistics_enabled(EnabledStatistics::Chunk)
                    .set_offset_index_disabled(true)
                    .set_max_row_group_row_count(Some(1 << 20))
                    .build();
                Format::Parquet(Box::new(
                    ArrowWriter::try_new(buffer.clone(), schema, Some(properties)).map_err(failed)?,
                ))
            }
            "csv" => Format::Csv(Box::new(arrow::csv::WriterBuilder::new().with_header(file.header).build(packed))),
            _ => {
                let builder = WriterBuilder::new().with_encoder_factory(Arc::new(JsonValues));
                Format::Json(Box::new(builder.build(packed)))
            }
        };
        Ok(Self { format, buffer })
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        match &mut self.format {
            Format::Json(writer) => writer.write(rows).map_err(failed),
            Format::Csv(writer) => writer.write(&for_csv(rows).map_err(failed)?).map_err(failed),
            Format::Parquet(writer) => {
                writer.write(rows).map_err(failed)?;
                // A group is closed by its memory, too: wide rows must not gather a million at a time.
                if writer.in_progress_size() > 64 << 20 {
                    writer.flush().map_err(failed)?;
                }
                Ok(())
            }
        }
    }

    pub(crate) fn finish(self) -> Result<Buffer> {
        match self.format {
            Format::Json(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner().finish().map_err(failed)?;
            }
            Format::Csv(writer) => writer.into_inner().finish().map_err(failed)?,
            Format::Parquet(writer) => {
                writer.close().map_err(failed)?;
            }
        }
        Ok(self.buffer)
    }
}
