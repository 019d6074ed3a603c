//! The null sink.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use levada_connector_api::{Batch, Commit, OutputMode, Result, Sink, TaskContext};

/// What a null sink has swallowed: only what was committed counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Micro-batches, those without rows too.
    pub batches: u64,
    /// Rows.
    pub rows: u64,
    /// The memory behind the rows' columns, in bytes.
    pub bytes: u64,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.batches = self.batches.saturating_add(other.batches);
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A sink that counts and forgets.
#[derive(Debug, Default)]
pub struct NullSink {
    totals: Arc<Mutex<Totals>>,
    staged: Totals,
}

impl NullSink {
    /// A sink that has counted nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle to the totals, which outlives the sink.
    pub fn totals(&self) -> Arc<Mutex<Totals>> {
        self.totals.clone()
    }
}

#[async_trait]
impl Sink for NullSink {
    async fn open(&mut self, _context: &TaskContext, _schema: SchemaRef, _mode: OutputMode) -> Result<Option<Commit>> {
        self.staged = Totals::default();
        Ok(None)
    }

    async fn write(&mut self, _batch_id: u64, batch: Batch) -> Result<()> {
        self.staged.add(Totals { batches: 0, rows: batch.num_rows() as u64, bytes: batch.bytes() as u64 });
        Ok(())
    }

    async fn commit(&mut self, _commit: &Commit) -> Result<()> {
        let staged = Totals { batches: 1, ..std::mem::take(&mut self.staged) };
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).add(staged);
        Ok(())
    }

    async fn abort(&mut self, _batch_id: u64) -> Result<()> {
        self.staged = Totals::default();
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let totals = *self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::info!(rows = totals.rows, batches = totals.batches, bytes = totals.bytes, "null sink closed");
        Ok(())
    }
}
