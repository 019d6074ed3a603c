//! A source and a sink in memory: the simplest that keep every rule.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::rows::all_rows;
use crate::{
    Batch, Commit, Error, ErrorKind, Guarantee, Offset, OffsetRange, OffsetRanges, Offsets, Origin, OutputMode,
    Partition, PollLimit, PollStatus, Polled, Result, Sink, SinkCapabilities, Source, SourceCapabilities, TaskContext,
};

/// A replayable source of given rows. It has one partition, and its position is the row's number.
#[derive(Debug, Clone)]
pub struct MemorySource {
    batches: Vec<RecordBatch>,
    position: u64,
    known: bool,
}

impl MemorySource {
    /// What it can do.
    pub const CAPABILITIES: SourceCapabilities = SourceCapabilities { replayable: true, bounded: true };

    /// What each row counts against a limit of bytes.
    pub const ROW_BYTES: usize = 16;

    /// A source of these rows.
    ///
    /// # Panics
    /// There is no batch, and so no schema.
    pub fn new(batches: Vec<RecordBatch>) -> Self {
        assert!(!batches.is_empty(), "a memory source needs a batch, if only for its schema");
        Self { batches, position: 0, known: false }
    }

    /// The name of its partition.
    pub fn partition() -> Partition {
        Partition::named("memory", "rows")
    }

    fn len(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }

    /// A piece of one batch, from the position on.
    fn piece(&self, rows: u64) -> Option<RecordBatch> {
        let mut before = 0;
        for batch in &self.batches {
            let end = before + batch.num_rows() as u64;
            if self.position < end {
                let length = rows.min(end - self.position);
                return Some(batch.slice((self.position - before) as usize, length as usize));
            }
            before = end;
        }
        None
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn schema(&mut self) -> Result<SchemaRef> {
        Ok(self.batches[0].schema())
    }

    async fn open(&mut self, _context: &TaskContext, from: &Offsets) -> Result<()> {
        let offset = from.get(&Self::partition());
        self.known = offset.is_some();
        self.position = offset.and_then(Offset::number).unwrap_or(0);
        Ok(())
    }

    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        let end = match &limit.until {
            None => self.len(),
            Some(until) => until.get(&Self::partition()).and_then(Offset::number).unwrap_or(0).min(self.len()),
        };
        let room = limit.rows.min((limit.bytes / Self::ROW_BYTES).max(1)) as u64;
        let Some(rows) = self.piece(room.min(end.saturating_sub(self.position))).filter(|rows| rows.num_rows() > 0)
        else {
            return Ok(Polled::nothing(PollStatus::End));
        };
        let start = self.known.then(|| Offset::at(self.position));
        let origin = Origin::exact("memory", "row", self.position);
        self.position += rows.num_rows() as u64;
        self.known = true;
        let mut ranges = OffsetRanges::default();
        ranges.push(Self::partition(), OffsetRange::new(start, Offset::at(self.position))?)?;
        let bytes = rows.num_rows() * Self::ROW_BYTES;
        let status = if self.position < end { PollStatus::More } else { PollStatus::End };
        Ok(Polled { batches: vec![Batch::with_origin(rows, origin)], rejected: Vec::new(), ranges, bytes, status })
    }

    async fn latest(&mut self) -> Result<Offsets> {
        Ok(Offsets::from_iter([(Self::partition(), Offset::at(self.len()))]))
    }
}

/// What a [`MemorySink`] writes into. It outlives the sink, as a table outlives its client.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Stored>>);

#[derive(Debug, Default)]
struct Stored {
    batches: Vec<RecordBatch>,
    tasks: BTreeMap<(String, u32), Task>,
}

#[derive(Debug, Default)]
struct Task {
    epoch: u64,
    last: Option<Commit>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is committed.
    pub fn batches(&self) -> Vec<RecordBatch> {
        self.lock().batches.clone()
    }

    /// What is committed, as [`canonical_rows`](super::canonical_rows) shows it.
    pub fn rows(&self) -> Vec<String> {
        all_rows(&self.lock().batches)
    }

    /// The last commit of a task.
    pub fn last_commit(&self, pipeline: &str, task: u32) -> Option<Commit> {
        self.lock().tasks.get(&(pipeline.to_owned(), task)).and_then(|task| task.last.clone())
    }

    /// Forgets everything, commits and epochs too.
    pub fn clear(&self) {
        *self.lock() = Stored::default();
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transactional sink into a [`MemoryStore`].
#[derive(Debug)]
pub struct MemorySink {
    store: MemoryStore,
    task: (String, u32),
    complete: bool,
    staged: Vec<RecordBatch>,
}

impl MemorySink {
    /// What it can do.
    pub const CAPABILITIES: SinkCapabilities = SinkCapabilities {
        guarantee: Guarantee::Transactional,
        modes: &[OutputMode::Append, OutputMode::Update, OutputMode::Complete],
    };

    /// A sink into `store`.
    pub fn new(store: MemoryStore) -> Self {
        Self { store, task: (String::new(), 0), complete: false, staged: Vec::new() }
    }
}

/// The task's record, unless a newer run has been there.
fn unfenced<'a>(stored: &'a mut Stored, id: &(String, u32), epoch: u64) -> Result<&'a mut Task> {
    let task = stored.tasks.entry(id.clone()).or_default();
    if epoch < task.epoch {
        let message = format!("epoch {epoch} of {}/{} is over, epoch {} has begun", id.0, id.1, task.epoch);
        return Err(Error::new(ErrorKind::Fenced, message));
    }
    task.epoch = epoch;
    Ok(task)
}

#[async_trait]
impl Sink for MemorySink {
    async fn open(&mut self, context: &TaskContext, _schema: SchemaRef, mode: OutputMode) -> Result<Option<Commit>> {
        self.task = (context.pipeline.clone(), context.task);
        self.complete = mode == OutputMode::Complete;
        self.staged.clear();
        Ok(unfenced(&mut self.store.lock(), &self.task, context.epoch)?.last.clone())
    }

    async fn write(&mut self, _batch_id: u64, batch: Batch) -> Result<()> {
        self.staged.push(batch.rows);
        Ok(())
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        let staged = std::mem::take(&mut self.staged);
        let mut stored = self.store.lock();
        let task = unfenced(&mut stored, &self.task, commit.epoch)?;
        if task.last.as_ref().is_some_and(|last| last.batch_id >= commit.batch_id) {
            return Ok(());
        }
        task.last = Some(commit.clone());
        if self.complete {
            stored.batches.clear();
        }
        stored.batches.extend(staged);
        Ok(())
    }

    async fn abort(&mut self, _batch_id: u64) -> Result<()> {
        self.staged.clear();
        Ok(())
    }
}
