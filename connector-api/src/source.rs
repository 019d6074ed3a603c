//! Where rows come from.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use crate::{BadRow, Batch, OffsetRanges, Offsets, Result, TaskContext};

/// A source of rows, positioned by offsets.
///
/// # Call order
/// 1. [`schema`](Self::schema), once or more, before anything else;
/// 2. [`open`](Self::open), once;
/// 3. [`poll`](Self::poll), [`latest`](Self::latest) and [`commit`](Self::commit), in any order, never two at once;
/// 4. [`close`](Self::close), once. A source may also be dropped at any moment, as a killed process would.
///
/// # Contract
/// - `poll` moves the source forward. The runtime never asks for rows twice in one run; to repeat a micro-batch it
///   creates a new source, opens it at the batch's start and polls with the recorded end as `until`.
/// - The ranges of one answer start exactly where the source stands: what was opened, plus the ranges of all answers
///   before. There is no gap and no overlap.
/// - A *replayable* source gives the same rows in the same order for the same range, however it is cut into polls.
/// - Nothing is acknowledged to the outside before `commit`.
/// - A future of this trait may be dropped before it is done only when the source is dropped next.
#[async_trait]
pub trait Source: Send {
    /// The columns that `poll` will give. May look at the data when the schema is to be inferred.
    async fn schema(&mut self) -> Result<SchemaRef>;

    /// Nobody looks at other columns than these: the source may leave out the work for the others, and give nulls in those
    /// that may be null. Called, if at all, between [`schema`](Self::schema) and [`open`](Self::open).
    fn only(&mut self, columns: &[String]) {
        let _ = columns;
    }

    /// Opens the source at `from`: for each partition in it, the first position to read. Partitions that are not in it
    /// start where the configuration says (a new topic's first offset, a new file's first byte).
    ///
    /// When the work is split ([`TaskContext::tasks`]) the source reads the partitions of task [`TaskContext::task`] only.
    /// Which those are follows from a partition's name and the two numbers alone, so that each partition, also one that
    /// appears later, has exactly one task without anybody asking the others. `from` may hold others' partitions, too.
    async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()>;

    /// Reads more rows, up to `limit`. Waits at most [`PollLimit::wait`] for the first of them.
    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled>;

    /// The end of what there is now: opened at `o` and polled until `latest()`, the source gives all rows between.
    /// Used for triggers that stop at what is available, and for the lag.
    async fn latest(&mut self) -> Result<Offsets>;

    /// The sink has made everything before `offsets` durable. Called in order; the last calls before a crash may be
    /// missing, so it must not be the only place where progress is kept.
    async fn commit(&mut self, offsets: &Offsets) -> Result<()> {
        let _ = offsets;
        Ok(())
    }

    /// Releases everything.
    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// How much one [`Source::poll`] may read.
#[derive(Debug, Clone)]
pub struct PollLimit {
    /// The micro-batch that the rows will be part of. A source that limits itself by something of its own (files a
    /// trigger) starts counting anew when it changes.
    pub batch_id: u64,
    /// Rows at most. An answer may be smaller: a piece that is convenient to read at once. With 0 nothing is read, but a
    /// source that can be split says in its ranges where each partition begins that is not in the offsets yet.
    pub rows: usize,
    /// Bytes at most, as the source counts its input. One record larger than it is given nevertheless.
    pub bytes: usize,
    /// How long to wait when there is nothing.
    pub wait: Duration,
    /// Where to stop: the first position of each partition that must not be read. Partitions that are not in it are not
    /// read at all. A replayable source honours it exactly, and names a partition of it that the offsets did not have yet
    /// in its ranges even where there is nothing to read. What lies before it is known to be there: a replayable source
    /// never answers [`Idle`](PollStatus::Idle), but [`More`](PollStatus::More) while rows are on their way, `End` when it
    /// is reached, and an error if it cannot be.
    pub until: Option<Arc<Offsets>>,
}

impl PollLimit {
    /// No limit but what is there now.
    pub fn unlimited(batch_id: u64) -> Self {
        Self { batch_id, rows: usize::MAX, bytes: usize::MAX, wait: Duration::ZERO, until: None }
    }
}

/// What a source says after a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollStatus {
    /// There may be more: poll again.
    More,
    /// There is nothing more for now. Not the answer of a replayable source where [`PollLimit::until`] is set.
    Idle,
    /// There may be more, but the source wants the micro-batch to end here (files a trigger). A poll of the same
    /// micro-batch after it (the trigger 'once') reads on and starts counting anew.
    Boundary,
    /// `until` is reached, or the source has an end and this is it: there will never be more.
    End,
}

/// The answer of a poll.
#[derive(Debug)]
pub struct Polled {
    /// The rows, in order.
    pub batches: Vec<Batch>,
    /// Rows that could not be decoded. They are part of `ranges`.
    pub rejected: Vec<BadRow>,
    /// What was read, as half-open ranges a partition.
    pub ranges: OffsetRanges,
    /// How many bytes of input that was.
    pub bytes: usize,
    /// What comes next.
    pub status: PollStatus,
}

impl Polled {
    /// Nothing read.
    pub fn nothing(status: PollStatus) -> Self {
        Self { batches: Vec::new(), rejected: Vec::new(), ranges: OffsetRanges::default(), bytes: 0, status }
    }

    /// The rows in all batches.
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(Batch::num_rows).sum()
    }
}
