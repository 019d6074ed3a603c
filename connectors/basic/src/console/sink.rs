//! The console sink.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use levada_connector_api::{Batch, Commit, Error, OutputMode, Result, Retry, Sink, TaskContext};

use super::config::Options;
use super::{cell, table};

/// Where tables are printed to. Sinks that share one take turns by the table, never by the line.
pub type SharedWriter = Arc<Mutex<dyn Write + Send>>;

const RULE: &str = "-------------------------------------------";

/// Prints micro-batches as tables.
///
/// Only the rows that will be shown are kept until the commit: a micro-batch of any size takes the memory of its first
/// rows.
pub struct ConsoleSink {
    options: Options,
    writer: SharedWriter,
    header: Vec<String>,
    shown: Vec<Vec<String>>,
    /// Rows of the micro-batch, those not shown too.
    total: u64,
}

impl ConsoleSink {
    /// A sink that prints to standard output.
    pub fn new(options: Options) -> Self {
        Self::with_writer(options, Arc::new(Mutex::new(io::stdout())))
    }

    /// A sink that prints to `writer`.
    pub fn with_writer(options: Options, writer: SharedWriter) -> Self {
        Self { options, writer, header: Vec::new(), shown: Vec::new(), total: 0 }
    }

    fn forget(&mut self) {
        self.shown.clear();
        self.total = 0;
    }

    fn render(&self, batch_id: u64) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{RULE}\nBatch: {batch_id}\n{RULE}");
        table::render(&mut out, &self.header, &self.shown, self.options.truncate);
        if self.total > self.shown.len() as u64 {
            let rows = if self.options.num_rows == 1 { "row" } else { "rows" };
            let _ = writeln!(out, "only showing top {} {rows}", self.options.num_rows);
        }
        // Spark prints the table with `println`.
        out.push('\n');
        out
    }
}

#[async_trait]
impl Sink for ConsoleSink {
    async fn open(&mut self, _context: &TaskContext, schema: SchemaRef, _mode: OutputMode) -> Result<Option<Commit>> {
        // Spark cuts cells, but not the names of columns.
        self.header = schema.fields().iter().map(|field| table::shown(field.name(), 0)).collect();
        self.forget();
        Ok(None)
    }

    async fn write(&mut self, _batch_id: u64, batch: Batch) -> Result<()> {
        let room = self.options.num_rows.saturating_sub(self.shown.len());
        for row in 0..batch.num_rows().min(room) {
            let cells = batch.rows.schema_ref().fields().iter().zip(batch.rows.columns()).map(|(field, column)| {
                let text = cell::cell(column.as_ref(), row)
                    .map_err(|e| e.context(format!("column '{}'", field.name())).context(batch.origin.of(row)))?;
                Ok(table::shown(&text, self.options.truncate))
            });
            self.shown.push(cells.collect::<Result<_>>()?);
        }
        self.total += batch.num_rows() as u64;
        Ok(())
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        let text = self.render(commit.batch_id);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // One write a table, so that tables of several tasks do not mix.
        writer.write_all(text.as_bytes()).and_then(|()| writer.flush()).map_err(failed)?;
        drop(writer);
        self.forget();
        Ok(())
    }

    async fn abort(&mut self, _batch_id: u64) -> Result<()> {
        self.forget();
        Ok(())
    }
}

fn failed(error: io::Error) -> Error {
    let broken = error.kind() == io::ErrorKind::BrokenPipe;
    let error = Error::io("standard output", error);
    if !broken {
        return error;
    }
    // Whoever was reading does not come back.
    error.with_retry(Retry::Permanent).hint("the program that read the output has ended")
}
