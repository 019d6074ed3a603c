//! Parquet, its columns encoded by several threads.

use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use levada_connector_api::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::encode::{Buffer, failed};

/// The most rows of a row group.
const GROUP: usize = 1 << 19;
/// A row group is closed by its size, too: wide rows must not gather half a million at a time.
const GROUP_BYTES: usize = 64 << 20;
/// Fewer rows are encoded by one thread: it goes beside those that decode, and others would take from them.
const FEW: usize = super::FEW;

/// A file under way.
pub(crate) struct ParquetFile {
    writer: SerializedFileWriter<Buffer>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    /// The leaf columns of the row group under way. Empty: there is none.
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
    groups: usize,
}

/// Calls `work` with each item, by as many threads as there are cores when `many`, and answers in the items' order.
fn each<T: Send, R: Send>(
    items: Vec<T>,
    many: bool,
    work: impl Fn(T) -> Result<R, ParquetError> + Sync,
) -> Result<Vec<R>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads < 2 || !many {
        return items.into_iter().map(|item| work(item).map_err(failed)).collect();
    }
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || -> Result<Vec<(usize, R)>> {
        let mut done = Vec::new();
        while let Some((at, item)) = next() {
            done.push((at, work(item).map_err(failed)?));
        }
        Ok(done)
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut all = run()?;
        for other in others {
            all.extend(other.join().map_err(|_| Error::internal("a thread that encoded Parquet panicked"))??);
        }
        Ok::<_, Error>(all)
    })?;
    all.sort_unstable_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

impl ParquetFile {
    pub(crate) fn new(buffer: Buffer, schema: SchemaRef, properties: WriterProperties) -> Result<Self> {
        let writer = ArrowWriter::try_new(buffer, schema.clone(), Some(properties)).map_err(failed)?;
        let (writer, factory) = writer.into_serialized_writer().map_err(failed)?;
        Ok(Self { writer, factory, schema, columns: Vec::new(), rows: 0, groups: 0 })
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < rows.num_rows() {
            let length = (rows.num_rows() - from).min(GROUP - self.rows);
            self.encode(&rows.slice(from, length))?;
            from += length;
            let size: usize = self.columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum();
            if self.rows >= GROUP || size > GROUP_BYTES {
                self.close_group()?;
            }
        }
        Ok(())
    }

    fn encode(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.columns.is_empty() {
            self.columns = self.factory.create_column_writers(self.groups).map_err(failed)?;
        }
        let mut leaves = Vec::with_capacity(self.columns.len());
        for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
            leaves.extend(compute_leaves(field, column).map_err(failed)?);
        }
        let work = self.columns.iter_mut().zip(leaves).collect();
        each(work, rows.num_rows() > FEW, |(column, leaf): (&mut ArrowColumnWriter, _)| column.write(&leaf))?;
        self.rows += rows.num_rows();
        Ok(())
    }

    fn close_group(&mut self) -> Result<()> {
        let columns = std::mem::take(&mut self.columns);
        if columns.is_empty() {
            return Ok(());
        }
        let chunks: Vec<ArrowColumnChunk> = each(columns, self.rows > FEW, ArrowColumnWriter::close)?;
        let mut group = self.writer.next_row_group().map_err(failed)?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        self.rows = 0;
        self.groups += 1;
        Ok(())
    }

    pub(crate) fn close(mut self) -> Result<()> {
        self.close_group()?;
        self.writer.close().map_err(failed)?;
        Ok(())
    }
}
