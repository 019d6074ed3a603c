//! What the stages of a task hand to each other.

use std::time::Duration;

use levada_connector_api::{BadRow, Batch, EventTime, OffsetRanges, Offsets, Stage, StateStats};
use levada_storage::Background;
use tokio::sync::OwnedSemaphorePermit;

use crate::checkpoint::{StateEntry, Watermarks};

/// From the reader to the worker.
pub(crate) enum Read {
    /// Rows of the current micro-batch.
    Piece { batch_id: u64, source: usize, batches: Vec<Batch>, rejected: Vec<BadRow> },
    /// The micro-batch is complete.
    End(BatchRead),
}

/// What the reader knows of a micro-batch.
#[derive(Debug)]
pub(crate) struct BatchRead {
    pub(crate) batch_id: u64,
    pub(crate) ranges: OffsetRanges,
    /// Whether the checkpoint has its record already: the batch is being repeated.
    pub(crate) repeated: bool,
    pub(crate) timestamp_ms: i64,
    /// Rows read, by source.
    pub(crate) rows: Vec<u64>,
    pub(crate) reading: Duration,
    pub(crate) started: std::time::Instant,
}

impl BatchRead {
    pub(crate) fn num_rows(&self) -> u64 {
        self.rows.iter().sum()
    }
}

/// How far the worker has come: what the reader needs to know to cut a batch without data.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Worked {
    /// The last batch of this run that the worker finished.
    pub(crate) batch_id: Option<u64>,
    /// Whether the watermark moved and something may close: a batch is wanted even if there is no data.
    pub(crate) again: bool,
}

/// From the worker to the committer.
pub(crate) enum Work {
    /// Rows for the sink, which take room until they are written.
    Rows { batch_id: u64, batches: Vec<Batch>, room: OwnedSemaphorePermit },
    /// Rows for the dead letters; for those of a source, its number.
    Rejected { batch_id: u64, stage: Stage, source: usize, rows: Vec<BadRow> },
    /// The micro-batch is complete.
    End(Box<BatchDone>),
}

/// What the worker knows of a micro-batch.
pub(crate) struct BatchDone {
    pub(crate) read: BatchRead,
    /// What the batch changed in the state.
    pub(crate) deltas: Background<Vec<StateEntry>>,
    /// All of the state, when a new segment is due.
    pub(crate) snapshot: Option<Background<Vec<StateEntry>>>,
    pub(crate) stats: Vec<StateStats>,
    /// Transforms' metrics, by alias.
    pub(crate) metrics: serde_json::Map<String, serde_json::Value>,
    pub(crate) watermarks: Watermarks,
    /// What was seen of event time.
    pub(crate) seen: Vec<EventTime>,
}

/// From the committer to the reader: everything before these offsets is durable.
pub(crate) struct Committed {
    pub(crate) offsets: Offsets,
    pub(crate) rows: u64,
    pub(crate) took: Duration,
}
